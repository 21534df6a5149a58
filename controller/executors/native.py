"""posix_spawn through the C library, because Python's own keeps the interpreter's lock until the child has become another program.

That wait is most of the cost of a start; with the lock released the store's thread goes on meanwhile, on the other processor. Linux only: elsewhere
`load` gives None and `spawn` uses what Python has. Source: posix_spawn(3), glibc's and musl's spawn.h.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence

_SETSIGDEF = 0x04
_SETSID = 0x80
_ROOM = 1024
"""Bytes for the library's opaque structures, of which the largest has 336."""

Start = Callable[[Sequence[str], Mapping[str, str], Sequence[int]], int]


class _Library:
    """The functions, and the attributes that every start has: a session of its own, and signals as nobody has touched them."""

    def __init__(self, default_signals: Collection[signal.Signals]) -> None:
        library = ctypes.CDLL(None)
        self._spawn = library.posix_spawn
        self._make_actions = library.posix_spawn_file_actions_init
        self._duplicate = library.posix_spawn_file_actions_adddup2
        self._drop_actions = library.posix_spawn_file_actions_destroy
        self._attributes = ctypes.create_string_buffer(_ROOM)
        signals = ctypes.create_string_buffer(_ROOM)
        library.sigemptyset(signals)
        for one in default_signals:
            library.sigaddset(signals, int(one))
        library.posix_spawnattr_init(self._attributes)
        library.posix_spawnattr_setsigdefault(self._attributes, signals)
        library.posix_spawnattr_setflags(self._attributes, ctypes.c_short(_SETSIGDEF | _SETSID))

    def start(self, argv: Sequence[str], env: Mapping[str, str], standard: Sequence[int]) -> int:
        """Start `argv` with the descriptors `standard` as 0, 1, 2 and everything else closed (all of ours are, on exec); give its pid.

        Errors: OSError as from exec; ValueError for what no program can be given.
        """
        words = _array([os.fsencode(word) for word in argv])
        variables = _array([_variable(name, value) for name, value in env.items()])
        actions = ctypes.create_string_buffer(_ROOM)
        pid = ctypes.c_int()
        self._make_actions(actions)
        try:
            for place, descriptor in enumerate(standard):
                self._duplicate(actions, descriptor, place)
            failure = self._spawn(ctypes.byref(pid), words[0], actions, self._attributes, words, variables)
        finally:
            self._drop_actions(actions)
        if failure:
            raise OSError(failure, os.strerror(failure), argv[0])
        return pid.value


def _array(texts: list[bytes]) -> "ctypes.Array[ctypes.c_char_p]":
    if any(b"\0" in text for text in texts):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)


def _variable(name: str, value: str) -> bytes:
    if not name or "=" in name:
        raise ValueError("illegal environment variable name")
    return os.fsencode(f"{name}={value}")


def load(default_signals: Collection[signal.Signals]) -> Start | None:
    """The function to start processes with; None where the C library is not one that we know."""
    if sys.platform != "linux":
        return None
    try:
        return _Library(default_signals).start
    except (OSError, AttributeError):
        return None
