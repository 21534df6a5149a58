"""Which file systems tell of changes: on those that others write to over a network, the kernel's events miss what the others do.

`watch` asks before it relies on events. Invariant: in doubt (no mount table) events are believed, and the periodic rescan finds the rest.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "virtiofs", "vboxsf"}
)
_MOUNTS = Path("/proc/self/mountinfo")


def must_poll(path: str, environment: Mapping[str, str] = os.environ, mounts: Path = _MOUNTS) -> bool:
    """Whether changes below `path` have to be looked for: its file system is a remote one, or WATCHFILES_FORCE_POLLING asks for it."""
    forced = environment.get("WATCHFILES_FORCE_POLLING", "").lower()
    if forced:
        return forced not in {"0", "false", "disable", "disabled"}
    kind = _kind_of(os.path.realpath(path), mounts)
    return kind in _REMOTE or kind.startswith("fuse.")


def _kind_of(path: str, mounts: Path) -> str:
    """The type of the file system that holds `path`. Source: proc_pid_mountinfo(5)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = _unescaped(fields.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point the later one is seen.
        if inside and len(point) >= best:
            best, kind = len(point), rest.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
