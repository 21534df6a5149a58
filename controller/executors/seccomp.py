"""The filter of system calls that every box has: a classic BPF program, assembled here from short lists.

`boxed` gives it to bubblewrap by descriptor. It stands behind the namespaces, not instead of them: what it refuses are ways to more kernel than a job needs
(new namespaces and mounts, kernel keys, BPF, io_uring), input pushed into a terminal, and socket families that no network namespace confines (AF_VSOCK reaches the
host of a virtual machine). A program of another architecture in the same kernel (i386 on x86-64) is killed: its numbers mean other calls.
Where there are no namespaces (`ruled`), the filter also closes what Landlock leaves open: see `Alone`.
Source: seccomp(2) and linux/filter.h for the instructions, the kernel's tables for the numbers.
"""

import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """One architecture: its name in linux/audit.h as a number, the column of `_NUMBERS`, and from where on numbers belong to another one in disguise (x32)."""

    arch: int
    column: int
    foreign: int | None = None


_MACHINES: Mapping[str, Machine] = {"x86_64": Machine(0xC000003E, 0, 0x40000000), "aarch64": Machine(0xC00000B7, 1)}

_NUMBERS: Mapping[str, tuple[int | None, int | None]] = {  # x86-64, AArch64
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
_Numbers = tuple[int | None, int | None]
_CLOSED: Mapping[
    int, Mapping[str, _Numbers]
] = {  # where files are limited and nothing hides them: by what the caller is told
    # Whatever the kernel finds by a path, or finds open for reading alone, can have its mode, owner and times changed, and Landlock has no say in it.
    errno.EPERM: {
        "chmod": (90, None),
        "chown": (92, None),
        "fchmod": (91, 52),
        "fchmodat": (268, 53),
        "fchmodat2": (452, 452),
        "fchown": (93, 55),
        "fchownat": (260, 54),
        "futimesat": (261, None),
        "lchown": (94, None),
        "utime": (132, None),
        "utimensat": (280, 88),
        "utimes": (235, None),
    },
    # The same, and attributes hold data; programs know file systems that have none.
    errno.EOPNOTSUPP: {
        "fremovexattr": (199, 16),
        "fsetxattr": (190, 7),
        "getxattr": (191, 8),
        "lgetxattr": (192, 9),
        "listxattr": (194, 11),
        "llistxattr": (195, 12),
        "lremovexattr": (198, 15),
        "lsetxattr": (189, 6),
        "removexattr": (197, 14),
        "setxattr": (188, 5),
    },
    # They tell the names in folders that may not be listed; programs then look for themselves.
    errno.ENOSYS: {"fanotify_init": (300, 262), "inotify_init": (253, None), "inotify_init1": (294, 26)},
}
_OTHERS: Mapping[str, tuple[int, int]] = {  # calls whose first argument may name somebody else's process; 0 is oneself
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}
_KINDS_OF_OTHERS: Mapping[
    str, tuple[int, int, int]
] = {  # first a kind, of which the third number means a process; then which one
    "ioprio_set": (251, 30, 1),
    "setpriority": (141, 140, 0),
}
_SOCKETPAIR = (53, 199)
_UNKNOWN = 463  # from here on calls came after Linux 6.12, and no list here knows them: attributes by other names, for instance

_SPECIAL = ("clone", "clone3", "ioctl", "socket")  # everything else in the table is refused whatever its arguments
_NEW_NAMESPACES = 0x02000000 | 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_IOCTLS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
_UNIX = 1
_CONNECTED = (1, 5)  # SOCK_STREAM, SOCK_SEQPACKET: a pair of these reaches nobody else, a pair for datagrams does
_PLAIN_IOCTLS = (0x5400, 0x8900)  # of terminals and of any descriptor; of sockets: 256 of each
_WIDE_IOCTLS = (0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D)  # the newer ones of terminals: TCGETS2, TCSETS2, …
_TUNNELS = (0x54C8, 0x5500)  # the low halves of TUNSETIFF and its like: a network of one's own, made of a file

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # of struct seccomp_data
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


class Alone(msgspec.Struct, frozen=True):
    """What the filter has to close because no namespace hides it.

    Always: Unix sockets, whose names Landlock does not look at; limits and priorities of other processes; calls that are newer than its lists.
    """

    files: bool = False  # changes of what Landlock does not call writing, and names of files
    network: bool = False  # sockets of any kind


def program(machine: str | None = None, alone: Alone | None = None) -> bytes | None:
    """The program for this machine (or the named one), as `bwrap --seccomp` and the kernel read it; None where the numbers are not known. Pure."""
    known = _MACHINES.get(machine or platform.machine())
    if known is None:
        return None
    return b"".join(struct.pack("<HBBI", *one) for one in _assemble(known, alone))


def _assemble(machine: Machine, alone: Alone | None) -> list[_Instruction]:
    def number(name: str) -> int:
        found = _NUMBERS[name][machine.column]
        assert found is not None
        return found

    made = [(_LOAD, 0, 0, _ARCH_AT), (_EQUAL, 1, 0, machine.arch), _give(_KILL), (_LOAD, 0, 0, _NUMBER_AT)]
    if machine.foreign is not None:
        made += [(_AT_LEAST, 0, 1, machine.foreign), _refuse(errno.ENOSYS)]
    for name, columns in _NUMBERS.items():
        if name not in _SPECIAL and columns[machine.column] is not None:
            made += [(_EQUAL, 0, 1, number(name)), _refuse(errno.EPERM)]
    if alone is not None:
        made += _closed(machine.column, alone)
    # Its flags lie behind a pointer, where no filter looks; C libraries fall back to clone when there is no clone3.
    made += [(_EQUAL, 0, 1, number("clone3")), _refuse(errno.ENOSYS)]
    made += _when(number("clone"), 0, [(_ANY_BIT, 0, 1, _NEW_NAMESPACES), _refuse(errno.EPERM), _give(_ALLOW)])
    pushing = [i for one in _IOCTLS for i in ((_EQUAL, 0, 1, one), _refuse(errno.EPERM))]
    made += _when(
        number("ioctl"), 1, [*pushing, *(_give_some_ioctls(alone) if alone is not None else ()), _give(_ALLOW)]
    )
    families = [one for one in _FAMILIES if alone is None or not (alone.network or one == _UNIX)]
    made += _when(number("socket"), 0, [*_allow_these(families), _refuse(errno.EAFNOSUPPORT)])
    return [*made, _give(_ALLOW)]


def _closed(column: int, alone: Alone) -> Iterator[_Instruction]:
    """What Landlock leaves open, whatever it was told."""
    yield from ((_AT_LEAST, 0, 1, _UNKNOWN), _refuse(errno.ENOSYS))
    if alone.files:
        for code, calls in _CLOSED.items():
            for columns in calls.values():
                number = columns[column]
                if number is not None:
                    yield from ((_EQUAL, 0, 1, number), _refuse(code))
    for numbers in _OTHERS.values():
        yield from _when(numbers[column], 0, [*_allow_these([0]), _refuse(errno.EPERM)])
    for *kind_numbers, process in _KINDS_OF_OTHERS.values():
        itself = ((_LOAD, 0, 0, _ARGUMENTS_AT + 8), *_allow_these([0]), _refuse(errno.EPERM))
        yield from _when(kind_numbers[column], 0, [(_EQUAL, 1, 0, process), _refuse(errno.EPERM), *itself])
    pair = ((_LOAD, 0, 0, _ARGUMENTS_AT + 8), (_AND, 0, 0, 0xF), *_allow_these(_CONNECTED), _refuse(errno.EPERM))
    yield from _when(_SOCKETPAIR[column], 0, [(_EQUAL, 1, 0, _UNIX), _refuse(errno.EAFNOSUPPORT), *pair])


def _give_some_ioctls(alone: Alone) -> Iterator[_Instruction]:
    """With the request in hand. A file that is open for reading has requests that change it: flags, versions, snapshots; which ones, its file system decides."""
    if alone.files:
        yield from _allow_these(_WIDE_IOCTLS)
        yield (_AND, 0, 0, 0xFFFFFF00)
        yield from (*_allow_these(_PLAIN_IOCTLS), _refuse(errno.ENOTTY))
    elif alone.network:
        yield (_AND, 0, 0, 0xFFFF)
        yield from ((_AT_LEAST, 0, 2, _TUNNELS[0]), (_AT_LEAST, 1, 0, _TUNNELS[1]), _refuse(errno.EPERM))


def _allow_these(values: Iterable[int]) -> Iterator[_Instruction]:
    for one in values:
        yield from ((_EQUAL, 0, 1, one), _give(_ALLOW))


def _when(number: int, argument: int, then: Sequence[_Instruction]) -> list[_Instruction]:
    """Instructions for one call, about the low half of one of its arguments: the kernel itself ignores the high half of these."""
    return [(_EQUAL, 0, len(then) + 1, number), (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), *then]


def _give(value: int) -> _Instruction:
    return (_RETURN, 0, 0, value)


def _refuse(code: int) -> _Instruction:
    return _give(_ERRNO | code)


def of_this_machine(alone: Alone | None = None) -> bytes:
    """The program for this machine. Errors: OSError, where there is none."""
    made = program(alone=alone)
    if made is None:
        raise OSError(errno.ENOSYS, f"there is no filter of system calls for {platform.machine()}")
    return made


def descriptor() -> int:
    """A file in memory that holds the program of this machine. It is read from the beginning. The caller closes it. Errors: OSError, also where there is no program."""
    made = of_this_machine()
    fd = os.memfd_create("jobwarden-seccomp")
    os.write(fd, made)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
