"""The filter of system calls does what its lists say: executed here as the kernel would."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.executors import seccomp
from controller.executors.seccomp import Alone

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOTTY, ENOSYS, EOPNOTSUPP, EAFNOSUPPORT = 1, 25, 38, 95, 97
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003
MACHINES = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
machines = st.sampled_from(["x86_64", "aarch64"])
numbers = st.integers(0, 2**32 - 1)
arguments = st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6)


def verdict(
    machine: str, number: int, *given_arguments: int, arch: int | None = None, alone: Alone | None = None
) -> int:
    """What the program answers. Source: the six classic instructions that it uses, as linux/filter.h has them."""
    program = seccomp.program(machine, alone)
    assert program is not None
    six = (*given_arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number, ARCH[machine] if arch is None else arch, 0, *six)
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x45:
                at += if_true if accumulator & operand else if_false
            case 0x54:
                accumulator &= operand
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(operation)


def number_of(machine: str, name: str) -> int | None:
    return seccomp._NUMBERS[name][list(ARCH).index(machine)]


@MACHINES
def test_what_is_listed_is_refused_whatever_its_arguments(machine: str) -> None:
    """With EPERM, as for anybody without the right to."""
    for name in set(seccomp._NUMBERS) - {"clone", "clone3", "ioctl", "socket"}:
        number = number_of(machine, name)
        if number is not None:
            assert verdict(machine, number) == ERRNO | EPERM, name


@given(machines, numbers, arguments)
def test_everything_else_is_allowed(machine: str, number: int, six: list[int]) -> None:
    """A filter that forbids what nobody thought of breaks jobs on the next kernel."""
    listed = {number_of(machine, name) for name in seccomp._NUMBERS}
    if number not in listed and (machine != "x86_64" or number < 0x40000000):
        assert verdict(machine, number, *six) == ALLOW


@given(machines, numbers, arguments, numbers)
def test_another_architecture_is_killed(machine: str, number: int, six: list[int], arch: int) -> None:
    """Its numbers mean other calls."""
    if arch != ARCH[machine]:
        assert verdict(machine, number, *six, arch=arch) == KILL
    assert verdict(machine, number, *six, arch=I386) == KILL


@given(st.integers(0x40000000, 2**32 - 1), arguments)
def test_the_third_table_of_x86_does_not_exist(number: int, six: list[int]) -> None:
    """x32 has the architecture of x86-64 and other numbers."""
    assert verdict("x86_64", number, *six) == ERRNO | ENOSYS


@given(machines, st.integers(0, 2**64 - 1))
def test_a_clone_with_a_new_namespace_is_refused_and_any_other_is_not(machine: str, flags: int) -> None:
    """Threads and children are made by the same call."""
    number = number_of(machine, "clone")
    assert number is not None
    namespaces = 0x7E020000
    assert verdict(machine, number, flags) == (ERRNO | EPERM if flags & namespaces else ALLOW)


@MACHINES
def test_clone3_does_not_exist(machine: str) -> None:
    """C libraries then take clone, whose flags can be seen."""
    number = number_of(machine, "clone3")
    assert number is not None
    assert verdict(machine, number) == ERRNO | ENOSYS


@given(machines, st.sampled_from([0x5412, 0x541C]), st.integers(0, 2**32 - 1))
def test_input_cannot_be_pushed_into_a_terminal(machine: str, request: int, high: int) -> None:
    """The kernel looks at the low half of the number only, and so does the filter."""
    number = number_of(machine, "ioctl")
    assert number is not None
    assert verdict(machine, number, 0, request | high << 32) == ERRNO | EPERM
    assert verdict(machine, number, 0, 0x5401) == ALLOW


@given(machines, st.integers(0, 2**32 - 1))
def test_sockets_are_of_families_that_a_network_namespace_confines(machine: str, family: int) -> None:
    """Unix, IPv4, IPv6 and netlink; AF_VSOCK would reach the host of a virtual machine."""
    number = number_of(machine, "socket")
    assert number is not None
    assert verdict(machine, number, family) == (ALLOW if family in (1, 2, 10, 16) else ERRNO | EAFNOSUPPORT)


def test_an_unknown_machine_has_no_program() -> None:
    """And then no box."""
    assert seccomp.program("riscv64") is None
    assert seccomp.program("riscv64", Alone()) is None


# What stands alone, where no namespace hides anything.

alones = st.builds(Alone, files=st.booleans(), network=st.booleans())
SOCKET, SOCKETPAIR, IOCTL = "socket", (53, 199), "ioctl"


def column(machine: str) -> int:
    return list(ARCH).index(machine)


@given(machines, numbers, arguments, alones)
def test_alone_it_allows_nothing_that_it_refuses_beside_namespaces(
    machine: str, number: int, six: list[int], alone: Alone
) -> None:
    """It only adds to the others."""
    if verdict(machine, number, *six) != ALLOW:
        assert verdict(machine, number, *six, alone=alone) != ALLOW


@given(machines, st.integers(463, 0x3FFFFFFF), arguments, alones)
def test_alone_it_knows_no_call_that_came_later(machine: str, number: int, six: list[int], alone: Alone) -> None:
    """They may do by another number what is refused; programs then do without, as on an older kernel."""
    assert verdict(machine, number, *six, alone=alone) == ERRNO | ENOSYS


@MACHINES
def test_alone_it_closes_what_changes_files_and_is_no_writing(machine: str) -> None:
    """Where files are limited, and only there."""
    for code, calls in seccomp._CLOSED.items():
        for name, columns in calls.items():
            number = columns[column(machine)]
            if number is not None:
                assert verdict(machine, number, alone=Alone(files=True)) == ERRNO | code, name
                assert verdict(machine, number, alone=Alone(network=True)) == ALLOW, name


@given(machines, st.integers(0, 2**32 - 1), alones)
def test_alone_it_lets_nobody_have_a_socket_with_a_name_in_files(machine: str, family: int, alone: Alone) -> None:
    """And without a network, none at all."""
    number = number_of(machine, SOCKET)
    assert number is not None
    allowed = () if alone.network else (2, 10, 16)
    assert verdict(machine, number, family, alone=alone) == (ALLOW if family in allowed else ERRNO | EAFNOSUPPORT)


@given(machines, st.sampled_from([1, 2, 10]), st.integers(0, 15), st.sampled_from([0, 0o2000000, 0o4000]), alones)
def test_alone_it_leaves_pairs_that_reach_nobody_else(
    machine: str, family: int, kind: int, flags: int, alone: Alone
) -> None:
    """Streams and packets in order; a pair for datagrams sends to any name."""
    answer = verdict(machine, SOCKETPAIR[column(machine)], family, kind | flags, alone=alone)
    assert (answer == ALLOW) == (family == 1 and kind in (1, 5))


@given(machines, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_alone_it_leaves_requests_of_terminals_and_sockets(machine: str, request: int, high: int) -> None:
    """A file that is open for reading takes others that change it. Where only the network is closed, those that make a tunnel are refused."""
    number = number_of(machine, IOCTL)
    assert number is not None
    pushing = request in (0x5412, 0x541C)
    plain = request >> 8 in (0x54, 0x89) or request in (0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D)
    tunnel = 0x54C8 <= request & 0xFFFF < 0x5500
    files = verdict(machine, number, 0, request | high << 32, alone=Alone(files=True))
    network = verdict(machine, number, 0, request | high << 32, alone=Alone(network=True))
    assert files == (ERRNO | EPERM if pushing else ALLOW if plain else ERRNO | ENOTTY)
    assert network == (ERRNO | EPERM if pushing or tunnel else ALLOW)


@MACHINES
@pytest.mark.parametrize("request_", [0x5401, 0x541B, 0x5421, 0x5451, 0x8913, 0x802C542A])
def test_alone_it_leaves_what_every_program_asks(machine: str, request_: int) -> None:
    """Is it a terminal, how much is there to read, do not block, close on exec."""
    number = number_of(machine, IOCTL)
    assert number is not None
    assert verdict(machine, number, 0, request_, alone=Alone(files=True, network=True)) == ALLOW


@pytest.mark.parametrize("request_", [0x40086602, 0x401C5820, 0x40086605, 0x50009401, 0x40049409, 0x400454CA])
def test_alone_it_refuses_what_changes_a_file_that_is_read(request_: int) -> None:
    """Flags, attributes of its file system, versions, a snapshot, a clone; and a tunnel."""
    assert verdict("x86_64", 16, 0, request_, alone=Alone(files=True)) == ERRNO | ENOTTY


@given(machines, st.integers(0, 2**32 - 1), alones)
def test_alone_it_limits_what_one_does_to_oneself(machine: str, pid: int, alone: Alone) -> None:
    """Limits, processors and priorities of other processes are not a run's to set; 0 means itself."""
    for name, columns in seccomp._OTHERS.items():
        answer = verdict(machine, columns[column(machine)], pid, alone=alone)
        assert answer == (ALLOW if pid == 0 else ERRNO | EPERM), name
    for name, (x86, arm, process) in seccomp._KINDS_OF_OTHERS.items():
        number = (x86, arm)[column(machine)]
        assert verdict(machine, number, process, pid, alone=alone) == (ALLOW if pid == 0 else ERRNO | EPERM), name
        assert verdict(machine, number, process + 1, 0, alone=alone) == ERRNO | EPERM, name
