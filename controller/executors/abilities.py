"""What this host can do to keep a run in its box, found out by doing it.

Whoever builds the controller hands `of_this_host` to the gates and the launch; the first contract that asks for a box makes it look. Each ability is tried with the very
arguments that a run would get, because versions and settings promise what a container, a hardened kernel or AppArmor then refuses. Where bubblewrap lacks something, Landlock is
tried as well.
Invariant: what did not work just now is missing, with the words of whoever refused.
"""

import functools
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from controller.domain.abilities import Abilities, Ability
from controller.domain.trust import Box, NetworkMode, Profile
from controller.executors import box, landlock, processes, ruled, seccomp
from controller.executors.doorman import Doorman
from controller.executors.protocol import ExecutionRequest
from controller.executors.spawn import NotStarted, Spawned

_PATIENCE = 20.0  # seconds for one trial, which takes some ten milliseconds
_PLACE = box.Place({"HOME": "/home/jobwarden", "PATH": os.defpath})
_INSTALL = "install the package bubblewrap (its program is bwrap) on the controller's host and restart the controller"
_NAMESPACES = (
    "let the controller's user make user namespaces and restart it (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces; in "
    "a container also its seccomp profile and masked paths)"
)
_ONCE = threading.Lock()


def of_this_host() -> Abilities:
    """What holds here; the first call takes some hundred milliseconds, the others nothing. For any thread."""
    with _ONCE:
        return _of_this_host()


@functools.cache
def _of_this_host() -> Abilities:
    return probe(shutil.which("bwrap"))


def probe(program: str | None) -> Abilities:
    """Try everything with this bubblewrap, and Landlock for what that lacks. Blocks; leaves nothing behind."""
    found = _with_bubblewrap(program)
    if not found.missing:
        return found
    version = _try_landlock()
    if isinstance(version, int):
        kept = "Landlock, which this host has, keeps no profile, no hosts and no '/', only lists of paths and `network: None`"
    else:
        kept = f"nor can Landlock stand in ({version})"
    missing = dict(found.missing)
    for ability in (Ability.Boxes, Ability.NoNetwork):
        if ability in missing:
            missing[ability] += f"; {kept}"
            break  # once is enough
    return msgspec.structs.replace(found, missing=missing, landlock=version if isinstance(version, int) else 0)


def _with_bubblewrap(program: str | None) -> Abilities:
    if program is None:
        return Abilities(missing=dict.fromkeys(Ability, f"there is no bubblewrap: {_INSTALL}"))
    program = os.path.abspath(program)  # noqa: PTH100 - links stay as they are
    refused = _try(program, Box(profile=Profile.Restricted))
    if refused is not None:
        return Abilities(dict.fromkeys(Ability, f"bubblewrap cannot make one ({refused}): {_NAMESPACES}"), program)
    missing: dict[Ability, str] = {}
    for ability, asked, hint in (
        (Ability.Isolation, Box(profile=Profile.Isolated, network=NetworkMode.Restricted), _NAMESPACES),
        (Ability.NoNetwork, Box(profile=Profile.Restricted, network=NetworkMode.Nothing), _NAMESPACES),
    ):
        refused = _try(program, asked)
        if refused is not None:
            missing[ability] = f"bubblewrap cannot do it ({refused}): {hint}"
    refused = _try_filter(program)
    if refused is not None:
        missing[Ability.Filter] = refused
    refused = missing.get(Ability.NoNetwork) or _try_hosts(program)
    if refused is not None:
        missing[Ability.Hosts] = refused
    return Abilities(missing, program, _version(program))


def _arguments(program: str, asked: Box) -> list[str]:
    return [program, *box.arguments(asked, _PLACE, box.of_this_host())]


def _try(program: str, asked: Box, options: Sequence[str] = (), passed: Sequence[int] = ()) -> str | None:
    """Start `true` in such a box. None: it ran; else what was said instead."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        status = ("--json-status-fd", str(nowhere))
        return _refusal([*_arguments(program, asked), *status, *options, "--", "true"], (nowhere, *passed))
    finally:
        os.close(nowhere)


def _refusal(command: Sequence[str], passed: Sequence[int]) -> str | None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(_PLACE.env),
            pass_fds=passed,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return said.removeprefix("bwrap: ") or f"it ended with {done.returncode}"


def _try_filter(program: str) -> str | None:
    try:
        fd = seccomp.descriptor()
    except OSError as error:
        return f"{error.strerror}: run such jobs on another machine"
    try:
        refused = _try(program, Box(profile=Profile.Restricted), ("--seccomp", str(fd)), (fd,))
    finally:
        os.close(fd)
    return f"the kernel does not take it ({refused}): it needs seccomp filters" if refused is not None else None


def _try_hosts(program: str) -> str | None:
    """Open a door in the network of a box that waits for it."""
    asked = Box(profile=Profile.Restricted, network=NetworkMode.Restricted)
    told, tells = os.pipe()
    held, holds = os.pipe()
    options = ("--json-status-fd", str(tells), "--block-fd", str(held), "--", "true")
    doorman = Doorman()
    process = None
    try:
        process = subprocess.Popen(
            [*_arguments(program, asked), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(_PLACE.env),
            pass_fds=(tells, held),
            start_new_session=True,
        )
        os.close(tells)
        tells = -1
        with open(told, "rb", closefd=False) as status:
            doorman.listen(json.loads(status.readline())["child-pid"]).close()
    except (OSError, ValueError, LookupError) as error:
        return f"the network of a box cannot be joined ({error}); leave the hosts out of the contract, or use the mode None"
    finally:
        if process is not None:
            # The whole group: what bubblewrap starts waits for it for ever, should it be killed too early.
            processes.signal_group(process.pid, signal.SIGKILL)
            process.wait()
        doorman.close()
        for fd in (told, tells, held, holds):
            if fd >= 0:
                os.close(fd)
    return None


def _try_landlock() -> int | str:
    """The version of Landlock that let a run start, and kept it from a folder that anybody may list; else why there is none."""
    try:
        version = landlock.version()
    except OSError as error:
        return str(error.strerror)
    if version < landlock.NEEDED:
        return f"it is version {version} in this kernel, and signals are limited from version {landlock.NEEDED} on, which Linux 6.12 has"
    request = ExecutionRequest(
        run="trial",
        namespace="trial",
        job="trial",
        argv=("/bin/sh", "-c", "true < /dev/null && ! true < /"),
        env=_PLACE.env,
        timeout=timedelta(seconds=_PATIENCE),
        cwd="/",
    )
    rules = box.rules(Box(read=(), network=NetworkMode.Nothing), _PLACE, box.of_this_host())
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        started = ruled.start(request, rules, nothing)
    finally:
        os.close(nothing)
    if isinstance(started, NotStarted):
        return started.message
    ended = _end_of(started)
    return version if ended == 0 else f"what it should refuse was not refused: a trial ended with {ended}"


def _end_of(started: Spawned) -> int | None:
    """Its exit code; None: it had to be killed."""
    deadline = time.monotonic() + _PATIENCE
    while (code := processes.reap(started.pid, os.WNOHANG)) is None and time.monotonic() < deadline:
        time.sleep(0.001)
    if code is None:
        processes.signal_group(started.pid, signal.SIGKILL)
        processes.reap(started.pid, 0)
    os.close(started.stdout)
    os.close(started.stderr)
    return code


def _version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().removeprefix("bubblewrap ")
