"""The filter of system calls does what its lists say: executed here as the kernel would."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.executors import seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003
MACHINES = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
machines = st.sampled_from(["x86_64", "aarch64"])
numbers = st.integers(0, 2**32 - 1)
arguments = st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6)


def verdict(machine: str, number: int, *given_arguments: int, arch: int | None = None) -> int:
    """What the program answers. Source: the four classic instructions that it uses, as linux/filter.h has them."""
    program = seccomp.program(machine)
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
