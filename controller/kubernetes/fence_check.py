"""Sees from within a Pod that its fence holds, before its job begins: `jobwarden fence-check`, the first init container of a Pod behind a fence.

`podspec` adds it. Nobody can ask a network plug-in (CNI) whether it enforces NetworkPolicies, and some learn of a Pod later than it begins; here it is tried. What every Pod
reaches that has a network are the API server and the DNS of its cluster. Invariant: it ends well only after all of them were out of reach, twice in a row.
Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/#pod-lifecycle
"""

import socket
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

PATIENCE = timedelta(seconds=30)
"""How long a plug-in gets to notice a Pod."""
_RESOLVERS = Path("/etc/resolv.conf")
_ANSWER_S = 1.0  # who is kept out may hear nothing at all
_PAUSE_S = 0.05
_ENOUGH = 2

Place = tuple[str, int]


def surroundings(environ: Mapping[str, str], resolvers: Path = _RESOLVERS) -> list[Place]:
    """What a Pod with a network could reach: host and port. Errors: OSError for a file that cannot be read."""
    found = [(host, 53) for host in _servers(resolvers.read_text(encoding="utf-8", errors="replace"))]
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    return [*([(host, int(port))] if host else []), *found]


def open_to(places: Iterable[Place], patience: timedelta) -> Place | None:
    """Wait until none of these can be reached, as long as that; the one that still can, None if the fence holds. Errors: ValueError where there is nothing to try."""
    known = list(places)
    if not known:
        raise ValueError
    until, missed = time.monotonic() + patience.total_seconds(), 0
    while True:
        reached = next((place for place in known if _reaches(place)), None)
        missed = 0 if reached is not None else missed + 1
        if missed == _ENOUGH:
            return None
        if reached is not None and time.monotonic() >= until:
            return reached
        time.sleep(_PAUSE_S)


def _servers(resolvers: str) -> list[str]:
    words = [line.split() for line in resolvers.splitlines()]
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def _reaches(place: Place) -> bool:
    try:
        socket.create_connection(place, timeout=_ANSWER_S).close()
    except OSError:
        return False
    return True
