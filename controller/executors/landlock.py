"""Landlock and its companions as the kernel has them: rules for files and networks, and a thread that binds itself to them.

`ruled` makes a `Ruleset` for each start and has a thread of its own enter it; `abilities` asks for the version. The three calls are made here by number, which is the same on
every machine: what there is of libraries is young or unreleased, and would not make a thread of them.
Invariant: `enter` binds the thread that calls it, and what that starts, for ever; nothing else of the process.
Source: landlock(7), linux/landlock.h; prctl(2), capset(2), seccomp(2).
"""

import ctypes
import errno
import os
import stat
import struct
from types import TracebackType
from typing import Self

NEEDED = 6
"""The version from which on Landlock can keep a box. With 1 to 5 a run could signal every process of its user, with 1 and 2 cut off files that it may not write. Linux 6.12 has 6."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_FILES = (1 << 16) - 1  # to make devices (bits 6 and 11) among them, which nothing below allows
_ALL_TCP = 3  # bind, connect
_SCOPES = 3  # abstract Unix sockets, signals: none to anybody outside
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV  # all others are about folders

READ = _EXECUTE | _READ_FILE | _READ_DIR
"""To read, to list and to execute."""
USE = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
"""One file, also a device, and what is in it."""
CHANGE = _WRITE_FILE | _TRUNCATE | _REFER
"""To change, where everything else is allowed anyway."""
WRITE = READ | CHANGE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
"""Everything but devices."""

_SET_NO_NEW_PRIVS, _SET_SECCOMP, _DROP_BOUND = 38, 22, 24  # options of prctl
_FILTER = 2
_CAPABILITIES = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the third version of the header, and the thread that calls

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def version() -> int:
    """Of the running kernel's Landlock. Errors: OSError, with words for people, where there is none."""
    try:
        return _syscall(_CREATE, None, 0, _VERSION_FLAG)
    except OSError as error:
        why = {
            errno.ENOSYS: "the kernel has no Landlock, or a filter hides it",
            errno.EOPNOTSUPP: "Landlock is turned off in the kernel (boot with lsm=landlock,…)",
        }
        raise OSError(error.errno, why.get(error.errno or 0, error.strerror)) from error


class Ruleset:
    """What is limited, and what is allowed all the same; to be closed by leaving its context."""

    def __init__(self, *, files: bool, network: bool) -> None:
        """`files`: everything about files is refused that no rule allows; else only writing is, and moving, where no rule says `CHANGE`. `network`: no TCP. Errors: OSError."""
        handled = _ALL_FILES if files else CHANGE
        wanted = struct.pack("=QQQ", handled, _ALL_TCP if network else 0, _SCOPES)
        self._handled = handled
        self.fd = _syscall(_CREATE, wanted, len(wanted), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    def allow(self, path: str, rights: int, *, links: bool) -> None:
        """Allow one of `READ`, `USE`, `CHANGE` and `WRITE` at a path and all below it. Errors: OSError; without `links` also when the path is, or now lies behind, a link.

        The file that is there now is meant: what takes its name later is somebody else.
        """
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not links and os.readlink(f"/proc/self/fd/{fd}") != path:  # noqa: PTH115 - bytes for bytes
                raise OSError(
                    errno.ELOOP,
                    "it is, or lies behind, a symbolic link by now: list the target itself, if that is meant",
                    path,
                )
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                rights &= _OF_FILES
            _syscall(_ADD, self.fd, _BENEATH, struct.pack("=Qi", rights & self._handled, fd), 0)
        finally:
            os.close(fd)


def enter(ruleset: Ruleset, program: bytes) -> None:
    """Bind the calling thread and what it starts, for ever: no new privileges, the rules, no capabilities, the filter of system calls. Errors: OSError; the thread may be bound by a part."""
    _prctl(_SET_NO_NEW_PRIVS, 1)
    _syscall(_RESTRICT, ruleset.fd, 0)
    _drop_capabilities()
    code = ctypes.create_string_buffer(program, len(program))
    filtering = _Program(len(program) // 8, ctypes.addressof(code))
    _prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(filtering))


def _drop_capabilities() -> None:
    """All, as bubblewrap does it: root without them owns its files, and no more."""
    capability = 0
    try:
        while True:  # until there is none of that number, or we are not allowed to, for want of any
            _prctl(_DROP_BOUND, capability)
            capability += 1
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
    _checked(_libc.capset(_CAPABILITIES, (ctypes.c_uint32 * 6)()))


def _prctl(option: int, second: int, third: int = 0) -> None:
    _checked(_libc.prctl(option, ctypes.c_ulong(second), ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    given = (ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)
    return _checked(_libc.syscall(ctypes.c_long(number), *given))


def _checked(answer: int) -> int:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer
