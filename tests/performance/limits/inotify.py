"""Limit of B9: from the rename that replaces one file to the inotify event in a process that only reads inotify.

`inotify.py FOLDER COUNT` watches FOLDER, lets a child replace a file COUNT times the way editors do (write beside, rename over),
and prints the median and 99th percentile in milliseconds.
"""

import ctypes
import json
import os
import struct
import sys
import time
from pathlib import Path

IN_MOVED_TO = 0x80


def main(folder: Path, count: int) -> None:
    """Print milliseconds as JSON."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_CLOEXEC)
    if watch < 0 or libc.inotify_add_watch(watch, str(folder).encode(), IN_MOVED_TO) < 0:
        raise SystemExit("no inotify on this machine")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        replace(folder, count, writing)
        os._exit(0)
    seen = []
    for _ in range(count):
        os.read(watch, 4096)
        seen.append(time.time_ns())
    renamed = [struct.unpack("q", os.read(reading, 8))[0] for _ in range(count)]
    os.waitpid(child, 0)
    late = sorted(max(0, one - other) / 1e6 for one, other in zip(seen, renamed, strict=True))
    print(json.dumps({"value": late[count // 2], "p99": late[int(count * 0.99)]}))


def replace(folder: Path, count: int, writing: int) -> None:
    for number in range(count):
        time.sleep(0.01)
        beside = folder / ".beside"
        beside.write_text(f"# {number}\n")
        told = struct.pack("q", time.time_ns())
        beside.rename(folder / "target.yaml")
        os.write(writing, told)


main(Path(sys.argv[1]), int(sys.argv[2]))
