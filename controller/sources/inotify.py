"""The kernel's file events, on a file descriptor that the event loop can wait for.

`watch` uses it on Linux. watchfiles, which serves other systems, polls its own queue every few milliseconds: that is dozens of wake-ups a second
in a controller that has nothing to do. Source: inotify(7).
"""

import ctypes
import os
import struct
from typing import NamedTuple

ATTRIB = 0x00000004
CLOSE_WRITE = 0x00000008
MOVED_FROM = 0x00000040
MOVED_TO = 0x00000080
CREATE = 0x00000100
DELETE = 0x00000200
DELETE_SELF = 0x00000400
MOVE_SELF = 0x00000800
UNMOUNT = 0x00002000
OVERFLOW = 0x00004000
IGNORED = 0x00008000
ISDIR = 0x40000000

_ONLYDIR = 0x01000000
_MASK_ADD = 0x20000000
_HEADER = struct.Struct("iIII")
_BUFFER = 256 * 1024


class Event(NamedTuple):
    """One event: the watch it belongs to, what happened, and to which name in that folder ("" for the folder itself)."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance. `fileno` becomes readable when there are events."""

    def __init__(self) -> None:
        """Errors: OSError where the system has no inotify or no instance is left."""
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._add, self._rm = libc.inotify_add_watch, libc.inotify_rm_watch
            init = libc.inotify_init1
        except AttributeError as error:
            raise OSError("this system has no inotify") from error
        self._add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        self._fd = _checked(init(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def add(self, folder: str, mask: int) -> int:
        """Watch a folder for `mask` too; a folder that is watched already keeps its number. Errors: OSError."""
        return _checked(self._add(self._fd, os.fsencode(folder), mask | _ONLYDIR | _MASK_ADD))

    def remove(self, watch: int) -> None:
        """Stop one watch; one that has ended by itself is fine."""
        self._rm(self._fd, watch)

    def read(self) -> list[Event]:
        """All events that are there; never waits."""
        events: list[Event] = []
        while True:
            try:
                data = os.read(self._fd, _BUFFER)
            except BlockingIOError:
                return events
            offset = 0
            while offset < len(data):
                watch, mask, _cookie, length = _HEADER.unpack_from(data, offset)
                offset += _HEADER.size
                name = data[offset : offset + length].rstrip(b"\0")
                offset += length
                events.append(Event(watch, mask, os.fsdecode(name)))

    def close(self) -> None:
        """Give the descriptor and all watches back."""
        os.close(self._fd)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
