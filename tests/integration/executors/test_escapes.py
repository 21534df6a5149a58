"""Attempts to get out of a box, each from inside a real one. What they all share: the controller, its files and its network are as before.

An attempt is a few lines of Python that reach what they should not, or fail; `OUT` means that it was reached. What a contract says has one meaning, so the attempts at it are made in
boxes of bubblewrap and in boxes of Landlock alike; what only one of them promises stands beside them.
"""

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from controller.domain.abilities import Abilities
from controller.domain.trust import Box, NetworkMode, Profile
from controller.executors import box
from controller.executors.protocol import ExecutionResult
from tests.integration.executors.boxes import HERE, WITHOUT_BUBBLEWRAP, inside, needs_boxes, needs_landlock
from tests.integration.executors.conftest import Runner

PYTHON = Path(sys.executable).resolve()
SECRET = "the secret of another job"

PREAMBLE = """
import ctypes, errno, fcntl, os, resource, signal, socket, struct, sys, termios
libc = ctypes.CDLL(None, use_errno=True)
MINE, SECRET_FILE, CONTROLLER, OUTSIDE = sys.argv[1:]
OUTSIDE_FOLDER = os.path.dirname(MINE)
def held():
    '''Whether it is safe to try: nobody else can be signalled, and there is a filter.'''
    try:
        os.kill(int(CONTROLLER), 0)
        return False
    except (ProcessLookupError, PermissionError):
        return libc.prctl(21, 0, 0, 0, 0) == 2
if (os.readlink('/proc/self/ns/mnt') == OUTSIDE or os.getpid() > 99) and not held():
    sys.exit('not in a box: nothing of this is tried on the host')
def call(name, *arguments):
    number = NUMBERS[name]
    if libc.syscall(number, *arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    print('OUT:', name)
def reached(path):
    with open(path) as file:
        print('OUT:', file.read())
"""
NUMBERS = {  # x86-64, AArch64
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "pidfd_getfd": (438, 438),
    "renameat2": (316, 276),
    "open_by_handle_at": (304, 265),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "clone": (56, 220),
    "clone3": (435, 435),
    "open_tree": (428, 428),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "setns": (308, 268),
    "reboot": (169, 142),
}
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())

FILES = {
    "read the home of root": f"seen = set(os.listdir('/root')) - {set(PYTHON.parts)}; print('OUT' if seen else 'nothing')",
    "read another home": "reached('/home/' + os.listdir('/home')[0])",
    "read a file of the host": "reached(SECRET_FILE)",
    "read it through the parent": "reached(MINE + '/../' + os.path.relpath(SECRET_FILE, os.path.dirname(MINE)))",
    "read it through the first process": "reached('/proc/1/root' + SECRET_FILE)",
    "read it through its own root": "reached('/proc/self/root' + SECRET_FILE)",
    "read it through the controller": "reached(f'/proc/{CONTROLLER}/root' + SECRET_FILE)",
    "read it through a link of its own": "os.symlink(SECRET_FILE, MINE + '/link'); reached(MINE + '/link')",
    "read it through a link to a folder": "os.symlink('/', MINE + '/all'); reached(MINE + '/all' + SECRET_FILE)",
    "take it by a hard link": "os.link(SECRET_FILE, MINE + '/hard'); reached(MINE + '/hard')",
    "read the passwords": "reached('/etc/shadow')",
    "read the settings of the system": "reached('/etc/ssh/sshd_config')",
    "write a program": "open('/usr/bin/true', 'r+b'); print('OUT')",
    "write into the root": "open('/planted', 'w'); print('OUT')",
    "write into /etc": "os.open('/etc/passwd', os.O_WRONLY); print('OUT')",
    "make a program setuid": "os.chmod('/usr/bin/env', os.stat('/usr/bin/env').st_mode); print('OUT')",
    "write beside its folder": "open(MINE + '/../planted', 'w').close(); print('only in its own view')",
    "write a setting of the kernel": "os.open('/proc/sys/kernel/hostname', os.O_WRONLY); print('OUT')",
    "write where cores go": "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY); print('OUT')",
    "press keys of the kernel": "os.open('/proc/sysrq-trigger', os.O_WRONLY); print('OUT')",
    "see the control groups": "print('OUT', os.listdir('/sys/fs/cgroup'))",
    "read a disk": "reached('/dev/' + next(one for one in os.listdir('/dev') if one.startswith(('sd', 'vd', 'nvme', 'loop'))))",
    "read the memory": "reached('/dev/mem')",
    "read where the kernel keeps what": "reached('/proc/vmallocinfo')",
    "read the kernel's timers": "reached('/proc/timer_list')",
    "read the kernel's log": "reached('/dev/kmsg')",
    "make a device": "os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0)); reached('/tmp/disk')",
    "reach a service by its socket": "print('OUT', os.listdir('/run')[0])",
    "reach a socket that it knows": "socket.socket(socket.AF_UNIX).connect(OUTSIDE_FOLDER + '/service'); print('OUT')",
    "send to a socket that it knows": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', OUTSIDE_FOLDER + '/log'); print('OUT')",
    "send to it from half of a pair": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', OUTSIDE_FOLDER + '/log'); print('OUT')",
    "turn half of a pair to it": "socket.socketpair()[0].connect(OUTSIDE_FOLDER + '/service'); print('OUT')",
    "turn a half that has lost the other": "ours, theirs = socket.socketpair(); theirs.close(); ours.shutdown(2); ours.connect(OUTSIDE_FOLDER + '/service'); print('OUT')",
    "part a half first": "ours = socket.socketpair(type=socket.SOCK_SEQPACKET)[0]; libc.connect(ours.fileno(), b'\\0' * 16, 16); ours.connect(OUTSIDE_FOLDER + '/service'); print('OUT')",
    "listen at a half": "ours = socket.socketpair()[0]; ours.bind(MINE + '/s'); ours.listen(); print('OUT')",
    "take a program by a hard link": "os.link('/usr/bin/true', MINE + '/hard'); print('OUT')",
    "take what it may read by a hard link": "os.link(sys.executable, MINE + '/hard'); print('OUT')",
    "take it by a descriptor": "os.link(f'/proc/self/fd/{os.open(SECRET_FILE, os.O_PATH)}', MINE + '/hard', follow_symlinks=True); print('OUT')",
    "run a program that it holds": "os.execve(os.open(OUTSIDE_FOLDER + '/program', os.O_PATH), ['program'], {})",
    "leave a core where it stands": "resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)); os.chdir(OUTSIDE_FOLDER); os.abort()",
    "read it from where it stands": "os.chdir(OUTSIDE_FOLDER); reached('secret')",
    "list what is beside": "print('OUT' if 'secret' in os.listdir(OUTSIDE_FOLDER) else 'only in its own view')",
    "read it by a path descriptor": "reached(f'/proc/self/fd/{os.open(SECRET_FILE, os.O_PATH)}')",
    "read it by a handle": "call('open_by_handle_at', -100, ctypes.create_string_buffer(64), 0)",
    "read what it is marked with": "print('OUT', os.getxattr(SECRET_FILE, 'user.secret'))",
    "run a program that is beside": "os.execv(OUTSIDE_FOLDER + '/program', ['program'])",
    "cut it off": "os.truncate(SECRET_FILE, 0); print('OUT')",
    "cut it off by opening it": "os.open(SECRET_FILE, os.O_RDONLY | os.O_TRUNC); print('OUT')",
    "cut off a program": "os.open('/usr/bin/true', os.O_RDONLY | os.O_TRUNC); print('OUT')",
    "take it": "os.rename(SECRET_FILE, MINE + '/taken'); print('OUT')",
    "put something in its place": "open(MINE + '/own', 'w').close(); os.rename(MINE + '/own', SECRET_FILE); print('OUT')",
    "exchange it": "open(MINE + '/own', 'w').close(); call('renameat2', -100, (MINE + '/own').encode(), -100, SECRET_FILE.encode(), 2)",
    "rename it": "os.rename(SECRET_FILE, SECRET_FILE + '2'); print('OUT')",
    "remove it": "os.unlink(SECRET_FILE); print('OUT')",
    "move its folder away": "os.rename(MINE, OUTSIDE_FOLDER + '/elsewhere'); print('OUT')",
    "make a folder beside": "os.mkdir('/usr/planted'); print('OUT')",
    "make a link beside": "os.symlink('x', '/usr/planted'); print('OUT')",
    "change its mode": "os.chmod(SECRET_FILE, 0o666); print('OUT')",
    "change its owner": "os.chown(SECRET_FILE, os.getuid(), os.getgid()); print('OUT')",
    "change its times": "os.utime(SECRET_FILE, (1, 1)); print('OUT')",
    "change its marks": "os.setxattr(SECRET_FILE, 'user.secret', b'known'); print('OUT')",
    "change the mode of a program that it may read": "os.fchmod(os.open('/usr/bin/env', os.O_RDONLY), 0o755); print('OUT')",
    "change the times of a program that it may read": "os.utime(os.open('/usr/bin/env', os.O_RDONLY)); print('OUT')",
    "change the owner of a program that it may read": "os.fchown(os.open('/usr/bin/env', os.O_RDONLY), 0, 0); print('OUT')",
    "mark a program that it may read": "os.setxattr(os.open('/usr/bin/env', os.O_RDONLY), 'user.x', b'y'); print('OUT')",
    "set flags of a program that it may read": "flags = ctypes.c_long(); file = os.open('/usr/bin/env', os.O_RDONLY); "
    "fcntl.ioctl(file, 0x80086601, flags); fcntl.ioctl(file, 0x40086602, flags); print('OUT')",
    "watch it": "print('OUT' if libc.inotify_add_watch(libc.inotify_init1(0), SECRET_FILE.encode(), 0xfff) >= 0 else 'nothing')",
    "make a device where it may write": "os.mknod(MINE + '/disk', 0o60600, os.makedev(8, 0)); print('OUT')",
}
PROCESSES = {
    "signal the controller": "os.kill(int(CONTROLLER), 0); print('OUT')",
    "trace the controller": "call('ptrace', 16, int(CONTROLLER), 0, 0)",
    "read the controller's memory": "buffer = ctypes.create_string_buffer(8); io = struct.pack('PN', ctypes.addressof(buffer), 8); "
    "call('process_vm_readv', int(CONTROLLER), io, 1, io, 1, 0)",
    "read the controller's environment": "reached(f'/proc/{CONTROLLER}/environ')",
    "see other processes": "seen = [one for one in os.listdir('/proc') if one.isdigit()]; print('OUT' if len(seen) > 4 else seen)",
    "signal a process that it holds": "signal.pidfd_send_signal(os.pidfd_open(int(CONTROLLER)), 0); print('OUT')",
    "signal the group of the controller": "os.killpg(os.getpgid(int(CONTROLLER)), 0); print('OUT')",
    "take a descriptor of the controller": "call('pidfd_getfd', os.pidfd_open(int(CONTROLLER)), 0, 0)",
    "list the controller's descriptors": "print('OUT', os.listdir(f'/proc/{CONTROLLER}/fd'))",
    "limit the controller": "resource.prlimit(int(CONTROLLER), resource.RLIMIT_NOFILE, resource.prlimit(int(CONTROLLER), resource.RLIMIT_NOFILE)); print('OUT')",
    "slow the controller": "os.setpriority(os.PRIO_PROCESS, int(CONTROLLER), 0); print('OUT')",
    "bind the controller to a processor": "os.sched_setaffinity(int(CONTROLLER), os.sched_getaffinity(0)); print('OUT')",
}
NAMES = {
    "hold a process of the host": "os.pidfd_open(int(CONTROLLER)); print('OUT')",
    "find a file by its name": "print('OUT', os.stat(SECRET_FILE))",
}
"""What is only seen. Landlock hides nothing whose name is known, and SECURITY.md says so."""
KERNEL = {
    "mount": "if libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None) == 0: print('OUT')",
    "remount the system": "if libc.mount(None, b'/usr', None, 32 | 4096, None) == 0: print('OUT')",
    "unmount its home": "if libc.umount2(b'/tmp', 2) == 0: print('OUT')",
    "clone a mount": "call('open_tree', -100, b'/', 1)",
    "make a user namespace": "call('unshare', 0x10000000)",
    "make a network namespace": "call('unshare', 0x40000000)",
    "make a user namespace by clone": "call('clone', 0x10000000 | 17, 0, 0, 0, 0)",
    "make a user namespace by clone3": "call('clone3', struct.pack('11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)",
    "join a namespace": "call('setns', os.open('/proc/1/ns/net', os.O_RDONLY), 0)",
    "change the root": "call('chroot', b'/tmp')",
    "turn the root": "call('pivot_root', b'/tmp', b'/tmp')",
    "read kernel keys": "call('keyctl', 0, -4, 0)",
    "keep a kernel key": "call('add_key', b'user', b'a', b'b', 1, -4)",
    "load a BPF program": "call('bpf', 0, b'', 0)",
    "watch the processor": "call('perf_event_open', b'', 0, -1, -1, 0)",
    "handle page faults": "call('userfaultfd', 0)",
    "go around the filter by io_uring": "call('io_uring_setup', 1, ctypes.create_string_buffer(120))",
    "reboot": "call('reboot', 0, 0, 0, 0)",
    "gain privileges": "os.setuid(12345); print('OUT')",
    "push input into a terminal": "ours, theirs = os.openpty(); fcntl.ioctl(theirs, termios.TIOCSTI, b'x'); print('OUT')",
    "push it with a longer number": "ours, theirs = os.openpty()\nif libc.ioctl(theirs, ctypes.c_ulong(0x5412 | 1 << 32), b'x') == 0: print('OUT')",
    "reach the host of the machine": "socket.socket(40, socket.SOCK_STREAM); print('OUT')",
    "see raw packets": "socket.socket(17, socket.SOCK_RAW); print('OUT')",
    "use the kernel's ciphers": "socket.socket(38, socket.SOCK_SEQPACKET); print('OUT')",
    "reach the network by a tunnel": "fcntl.ioctl(os.open('/dev/net/tun', os.O_RDWR), 0x400454ca, struct.pack('16sH22x', b'', 0x1001)); print('OUT')",
}

BOTH = pytest.mark.parametrize(
    "here",
    [
        pytest.param(HERE, id="bubblewrap", marks=needs_boxes),
        pytest.param(WITHOUT_BUBBLEWRAP, id="landlock", marks=needs_landlock),
    ],
)


def listing(here: Abilities) -> Box:
    """A box that shows nothing but what is listed, of the strictest sort that both can make."""
    return Box(profile=Profile.Restricted) if here is HERE else Box()


@pytest.fixture
async def mine(tmp_path: Path) -> AsyncIterator[Path]:
    """A folder that may be written, beside a file, a program and services that are not to be reached."""
    folder = tmp_path / "mine"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    with contextlib.suppress(OSError):  # not every file system has them
        os.setxattr(secret, "user.secret", SECRET.encode())
    marks = {name: os.getxattr(secret, name) for name in os.listxattr(secret)}
    (tmp_path / "program").write_text("#!/bin/sh\necho OUT\n")
    (tmp_path / "program").chmod(0o755)
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    service = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    for sock, name in ((log, "log"), (service, "service")):
        with _standing_in(tmp_path):  # the name of a socket is short
            sock.bind(name)
    service.listen()
    before = secret.stat()
    yield folder
    for sock in (log, service):
        sock.close()
    after = secret.stat()
    assert secret.read_text() == SECRET
    for what in ("st_ino", "st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_ctime_ns"):
        assert getattr(after, what) == getattr(before, what), what
    assert {name: os.getxattr(secret, name) for name in os.listxattr(secret)} == marks
    own = {one.name for one in tmp_path.iterdir() if not one.name.startswith("run-")}
    assert own <= {"mine", "secret", "program", "log", "service", "logs"}


@contextlib.contextmanager
def _standing_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


async def attempt(
    run: Runner, mine: Path, wanted: Box, code: str, here: Abilities = HERE, *, whole: bool = False
) -> ExecutionResult:
    """Run the lines in the box, which shows this Python and `mine`; `whole`: its files are as they are."""
    numbers = {name: columns[COLUMN] for name, columns in NUMBERS.items()} if COLUMN is not None else {}
    if not whole:
        wanted = msgspec.structs.replace(wanted, read=(str(PYTHON.parents[1]),), write=(str(mine),))
    script = f'{PYTHON} -I -S -c "$CODE" {mine} {mine.parent / "secret"} {os.getpid()} {Path("/proc/self/ns/mnt").readlink()}'
    env = {"CODE": f"{PREAMBLE}\nNUMBERS = {numbers}\n{code}"}
    _, ended = run.start(inside(run, wanted, script=script, env=env, here=here))
    result = await asyncio.wait_for(ended, 60)
    assert result.start_error is None
    assert b"not in a box" not in result.stderr
    assert b"OUT" not in result.stdout, result.stdout
    assert b"SyntaxError" not in result.stderr, result.stderr
    assert b"NameError" not in result.stderr, result.stderr
    assert SECRET.encode() not in result.stdout + result.stderr
    return result


def _each(attempts: dict[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("code", attempts.values(), ids=[name.replace(" ", "-") for name in attempts])


@BOTH
@_each(FILES)
async def test_no_file_outside_is_reached(run: Runner, mine: Path, code: str, here: Abilities) -> None:
    """Neither read nor changed."""
    await attempt(run, mine, listing(here), code, here)


@BOTH
@_each(PROCESSES)
async def test_no_process_outside_is_reached(run: Runner, mine: Path, code: str, here: Abilities) -> None:
    """Neither ended nor looked into, nor changed in any way."""
    await attempt(run, mine, listing(here), code, here)


SEEN_IN_THE_WHOLE = {"see other processes", "list the controller's descriptors"}


@BOTH
@_each({name: code for name, code in PROCESSES.items() if name not in SEEN_IN_THE_WHOLE})
async def test_no_process_is_reached_where_only_the_network_is_limited(
    run: Runner, mine: Path, code: str, here: Abilities
) -> None:
    """One that has a network would be a way to it."""
    await attempt(run, mine, Box(network=NetworkMode.Nothing), code, here, whole=True)


@BOTH
async def test_the_kernel_is_not_told_what_to_start_where_only_the_network_is_limited(
    run: Runner, mine: Path, here: Abilities
) -> None:
    """Files are as they are, and root's are root's; but what is in /proc/sys starts programs out here."""
    for path in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/self/mem",
        "/proc/self/oom_score_adj",
    ):
        await attempt(
            run,
            mine,
            Box(network=NetworkMode.Nothing),
            f"os.open({path!r}, os.O_WRONLY); print('OUT')",
            here,
            whole=True,
        )


@needs_boxes
@_each(NAMES)
async def test_nothing_outside_is_even_seen(run: Runner, mine: Path, code: str) -> None:
    """Whoever knows a name learns nothing by it."""
    await attempt(run, mine, Box(profile=Profile.Restricted), code)


@BOTH
@_each(KERNEL)
async def test_the_kernel_gives_nothing_more(run: Runner, mine: Path, code: str, here: Abilities) -> None:
    """No new namespace, mount, key or program, and no socket that no namespace confines."""
    await attempt(run, mine, listing(here), code, here)


@BOTH
async def test_killing_everybody_kills_nobody_outside(run: Runner, mine: Path, here: Abilities) -> None:
    """`kill -9 -1` ends the box, and the controller tells of it."""
    result = await attempt(run, mine, listing(here), "os.kill(-1, signal.SIGKILL)", here)
    assert result.exit_code in (0, 1, 137) or result.signal == "SIGKILL"


@needs_boxes
async def test_a_run_has_no_capability_and_gets_none(run: Runner, mine: Path) -> None:
    """Not from a setuid program either."""
    code = "print([line for line in open('/proc/self/status') if line.startswith(('Cap', 'NoNew', 'Seccomp:'))])"
    result = await attempt(run, mine, Box(profile=Profile.Restricted), code)
    fields = {line.split(":")[0]: line.split(":")[1].strip() for line in eval(result.stdout)}
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of another architecture, in its instructions")
@BOTH
async def test_calls_of_another_architecture_kill(run: Runner, mine: Path, here: Abilities) -> None:
    """The i386 table has other numbers: 21 is mount there."""
    code = """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex('b814000000cd80c3'))
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
print('OUT')
"""
    result = await attempt(run, mine, listing(here), code, here)
    assert result.exit_code == 128 + 31


@BOTH
async def test_a_link_that_a_run_plants_opens_nothing_for_the_next(run: Runner, mine: Path, here: Abilities) -> None:
    """Its folder becomes a link to everything; the contract that lists it is not obeyed blindly."""
    (mine / "inner").mkdir()
    await attempt(run, mine, listing(here), "os.rmdir(MINE + '/inner'); os.symlink('/', MINE + '/inner')", here)
    assert (mine / "inner").is_symlink()
    for lists in ({"read": (f"{mine}/inner",)}, {"write": (f"{mine}/inner/etc",)}):
        refused = box.request(Box(**lists), box.Place({}), here)
        assert isinstance(refused, str)
        assert "symbolic link" in refused


@BOTH
@pytest.mark.parametrize(
    "path", ["/proc", "/proc/1/root", "/dev/sda", "/usr/../root", "relative", "/usr/", "//usr", "/a\0b"]
)
def test_a_list_cannot_name_what_no_box_may_have(path: str, here: Abilities) -> None:
    """Or what is not clear."""
    assert isinstance(box.request(Box(read=(path,)), box.Place({}), here), str)
    assert isinstance(box.request(Box(write=(path,)), box.Place({}), here), str)


@pytest.mark.parametrize(
    ("here", "profile"),
    [
        *(pytest.param(HERE, profile, id=f"bubblewrap-{profile}", marks=needs_boxes) for profile in Profile),
        pytest.param(WITHOUT_BUBBLEWRAP, Profile.Nothing, id="landlock", marks=needs_landlock),
    ],
)
async def test_without_a_network_nothing_is_reached_by_any_road(
    run: Runner, mine: Path, profile: Profile, here: Abilities
) -> None:
    """Loopback of the host, an address, a name, an abstract socket; by a child as little."""
    listening = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0jobwarden-{mine}")
    abstract.listen()
    code = f"""
def all_roads():
    for family, address in ((2, ('127.0.0.1', {listening.getsockname()[1]})), (2, ('192.0.2.1', 80)), (10, ('::1', 80)), (1, '\\0jobwarden-{mine}')):
        try:
            line = socket.socket(family)
            line.settimeout(5)
            line.connect(address)
            print('OUT', address)
        except OSError as error:
            print(errno.errorcode[error.errno])
    try:
        print('OUT', socket.getaddrinfo('example.com', 80))
    except OSError:
        print('unknown')
    print(os.listdir('/sys/class/net') if os.path.isdir('/sys/class/net') and {profile is not Profile.Nothing} else '', flush=True)
all_roads()
if os.fork() == 0:
    os.setsid()
    all_roads()
    os._exit(0)
os.wait()
"""
    wanted = Box(profile=profile, network=NetworkMode.Nothing)
    result = await attempt(run, mine, wanted, code, here)
    assert result.stdout.count(b"ECONNREFUSED" if here is HERE else b"EAFNOSUPPORT") >= 4
    assert result.stdout.count(b"unknown") == 2
    listening.close()
    abstract.close()


@needs_boxes
async def test_an_isolated_run_has_no_network_unless_hosts_are_named(run: Runner, mine: Path) -> None:
    """Whatever its contract says, or leaves out, of the network."""
    code = "print(open('/proc/net/dev').read())"
    result = await attempt(run, mine, Box(profile=Profile.Isolated), code)
    interfaces = [line.split(":")[0].strip() for line in result.stdout.decode().splitlines() if ":" in line]
    assert interfaces == ["lo"]


@needs_boxes
async def test_a_list_of_everything_hides_the_sockets_of_services_as_well(run: Runner) -> None:
    """A read-only file system is no obstacle to a connection."""
    wanted = Box(read=("/",), network=NetworkMode.Nothing)
    _, ended = run.start(
        inside(run, wanted, script="ls -A /run; touch /usr/planted /planted 2>/dev/null || echo read-only")
    )
    assert (await ended).stdout == b"read-only\n"


@needs_boxes
async def test_where_only_the_network_is_limited_the_sockets_of_services_are_hidden(run: Runner) -> None:
    """Docker, D-Bus and the like would be a way out, and more."""
    (run.folder / "here").write_text("files are as they are")
    _, ended = run.start(inside(run, Box(network=NetworkMode.Nothing), script=f"ls -A /run; cat {run.folder}/here"))
    assert (await ended).stdout == b"files are as they are"


@needs_boxes
async def test_isolated_runs_share_no_memory_and_no_name(run: Runner, mine: Path) -> None:
    """IPC, host name and control groups are their own."""
    code = (
        "print([os.readlink(f'/proc/self/ns/{one}') for one in ('ipc', 'uts', 'cgroup', 'pid', 'net', 'mnt', 'user')])"
    )
    result = await attempt(run, mine, Box(profile=Profile.Isolated), code)
    ours = {
        str(Path(f"/proc/self/ns/{one}").readlink()) for one in ("ipc", "uts", "cgroup", "pid", "net", "mnt", "user")
    }
    assert not any(one in result.stdout.decode() for one in ours)


@needs_boxes
@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="root and setpriv are needed to become another user"
)
def test_an_ordinary_users_boxes_are_no_weaker() -> None:
    """A controller has no privileges as a rule: the same arguments, by nobody; a setuid program stays who started it."""
    arguments = box.arguments(Box(profile=Profile.Isolated), box.Place({"HOME": "/home/nobody"}), box.of_this_host())
    script = "id -u; ls -A /root /home 2>/dev/null; cat /etc/shadow; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; mount -t tmpfs x /tmp; echo held"
    done = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            HERE.bubblewrap,
            *arguments,
            "--",
            "/bin/sh",
            "-c",
            script,
        ],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.defpath},
        check=False,
    )
    assert done.stdout.split("\n") == [
        "65534",
        "/home:",
        "nobody",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "held",
        "",
    ]
