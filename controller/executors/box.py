"""From the box of a contract to the arguments of bubblewrap, or to rules for Landlock where bubblewrap cannot run.

`launch` asks for a `BoxRequest` and puts it into the run's request; `boxed` or `ruled` starts it. Two views of the file system: the whole, as it is, where only the network is
limited; and the narrow one, which begins with nothing and holds the system's programs (read-only), a private home, a private /tmp, devices and processes of its own, and
what the contract lists. Landlock's narrow view has no /tmp and no processes, and one private folder as home and for what is temporary.
Invariants: what is not named here is not visible: a folder that this module does not know of stays outside; a listed path means the same to both.
Source: bwrap(1), landlock(7).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import msgspec

from controller.domain.abilities import Abilities, Ability, Means, confines, for_landlock, limits_files, means, reach
from controller.domain.trust import Box, Enforcement, NetworkMode, Profile
from controller.executors import outputs
from controller.executors.protocol import BoxRequest, Rules

TMP = "/tmp"  # noqa: S108 - the box's own
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (  # what programs look for in any system, and nothing that only root may read; short, because every mount is a part of a millisecond
    "alternatives",
    "crypto-policies",
    "group",
    "hosts",
    "ld.so.cache",
    "localtime",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
_SERVICES = ("--tmpfs", "/run")  # its sockets lead to services that have a network, and to some that start anything
_ANEW = ("/proc", "/dev")  # the box has its own
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")  # those that bubblewrap makes anew


class View(msgspec.Struct, frozen=True):
    """What depends on this host alone; options of bubblewrap, where nothing else is said."""

    system: tuple[str, ...] = ()  # its programs, and the settings that any program needs
    paths: tuple[str, ...] = ()  # the same, for Landlock
    devices: tuple[str, ...] = ()
    processes: tuple[str, ...] = ("--proc", "/proc", "--remount-ro", "/proc")


class Place(msgspec.Struct, frozen=True):
    """Where a run stands: its own files, which its box has to show it whatever the contract says."""

    env: Mapping[str, str]
    cwd: str | None = None
    output: str | None = None  # the file that $JOBWARDEN_OUTPUT names
    folders: tuple[str, ...] = ()  # to be read by the run alone, such as its credentials


def request(box: Box, place: Place, abilities: Abilities) -> BoxRequest | str | None:
    """What the executor needs to know; None: no box is asked for; words: why the run cannot be started in it. Looks at the paths of the lists, so it may wait for a disk.

    Under Warn, what cannot be had is left out, and told in the note of the run.
    """
    if not confines(box):
        return None
    possible, troubles = _possible(box, abilities)
    if troubles and box.enforcement is Enforcement.Block:
        return "; ".join(troubles)
    note = "; ".join(f"not enforced: {one}" for one in troubles) or None
    if not confines(possible):
        return BoxRequest(note=note)
    narrow, landlock = limits_files(possible), means(possible, abilities) is Means.Landlock
    hidden = _hidden_folder(possible, place, () if landlock else (TMP, _home(place.env))) if narrow else None
    if hidden is not None:
        return hidden
    if landlock:
        made = rules(possible, place, of_this_host())
        return BoxRequest(
            rules=made, env={} if made.home is None else {"HOME": made.home, "TMPDIR": made.home}, note=note
        )
    hosts = possible.hosts if reach(possible) is NetworkMode.Restricted else None
    return BoxRequest(
        args=(abilities.bubblewrap, *arguments(possible, place, of_this_host())),
        env=_environment(place) if narrow else {},
        hosts=hosts,
        note=note,
    )


def _possible(box: Box, abilities: Abilities) -> tuple[Box, list[str]]:
    """The part of a box that can be had here, and what is wrong with the rest."""
    troubles: list[str] = []
    if means(box, abilities) is None:
        box, troubles = _weaker(box, abilities)
    read, wrong = _usable(box.read, "paths.read")
    troubles += wrong
    write, wrong = _usable(box.write, "paths.write")
    return msgspec.structs.replace(box, read=read, write=write), troubles + wrong


def _weaker(box: Box, abilities: Abilities) -> tuple[Box, list[str]]:
    """A box for whose means nothing is missing here, and what is wrong with the rest."""
    missing = abilities.missing
    for ability in (Ability.Boxes, Ability.Filter):
        if ability in missing:
            kept = for_landlock(box) if abilities.landlock else Box(enforcement=box.enforcement)
            return kept, [f"the box cannot be made on this host: {missing[ability]}"]
    troubles = []
    profile, network = box.profile, reach(box)
    if profile is Profile.Isolated and Ability.Isolation in missing:
        troubles.append(f"the profile Isolated cannot be had on this host: {missing[Ability.Isolation]}")
        profile = Profile.Restricted
    lacking = {
        NetworkMode.Nothing: (Ability.NoNetwork,),
        NetworkMode.Restricted: (Ability.NoNetwork, Ability.Hosts),
    }.get(network, ())
    for ability in lacking:
        if ability in missing and network is not NetworkMode.Unrestricted:
            troubles.append(f"the network of the box cannot be limited on this host: {missing[ability]}")
            network = NetworkMode.Unrestricted
    if profile is Profile.Isolated and network is NetworkMode.Unrestricted:
        profile = Profile.Restricted  # the weaker profile is the one that says nothing of the network
    return msgspec.structs.replace(box, profile=profile, network=network), troubles


def _usable(paths: tuple[str, ...] | None, field: str) -> tuple[tuple[str, ...] | None, list[str]]:
    if paths is None:
        return None, []
    wrong = {path: why for path in paths if (why := _trouble(path, field)) is not None}
    return tuple(path for path in paths if path not in wrong), list(wrong.values())


def _trouble(path: str, field: str) -> str | None:
    """Why a listed path cannot be shown, in words for whoever wrote the contract.

    A link is refused, because its target is not what anybody agreed to: a run that may write beside it could point it anywhere for the next one.
    """
    if path != os.path.normpath(path) or not path.startswith("/") or "\0" in path:
        return f"{field} of the contract: {path!r} is not a plain absolute path; write it without '..', '//' and a slash at the end"
    if any(_within(path, (anew,)) for anew in _ANEW):
        return f"{field} of the contract: {path!r} cannot be listed: every box has a {'/'.join(path.split('/')[:2])} of its own"
    real = os.path.realpath(path)
    if not os.path.lexists(real):
        return f"{field} of the contract: {path!r} does not exist on this host: create it, or correct the path"
    if real != path:
        return f"{field} of the contract: {path!r} is, or lies behind, a symbolic link to {real!r}: list the target itself, if that is meant"
    return None


def _hidden_folder(box: Box, place: Place, own: tuple[str, ...]) -> str | None:
    """Why the working directory cannot be entered. `own`: folders that the box makes itself."""
    if place.cwd is None:
        return None
    shown = (*(box.read or ()), *(box.write or ()), *place.folders, "/usr", *_MERGED, *own)
    if _within(os.path.normpath(place.cwd), shown):
        return None
    return (
        f"the working directory {place.cwd!r} is not visible in the box of the contract: list it in box.paths of the contract, or take workingDir out of the "
        "job, which then begins in its private home"
    )


def arguments(box: Box, place: Place, view: View) -> tuple[str, ...]:
    """The options of bubblewrap, without its program, its descriptors and the command. Pure; paths were looked at before."""
    # Capabilities are dropped by name because bubblewrap leaves root all of them. A process namespace also for the milder profile: without one a run could
    # signal every process of its user, the controller among them.
    args = ["--unshare-user", "--unshare-pid", "--cap-drop", "ALL", "--die-with-parent"]
    if box.profile is Profile.Isolated:
        args += ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup"]
    limited = reach(box) is not NetworkMode.Unrestricted
    if limited:
        args.append("--unshare-net")
    args += _narrow(box, place, view) if limits_files(box) else _whole(view, limited=limited)
    for folder in place.folders:
        args += ("--ro-bind", folder, folder)
    if place.output is not None:
        args += ("--bind", place.output, place.output)
    if limits_files(box) and "/" not in (box.write or ()):
        args += ("--remount-ro", "/")
    cwd = place.cwd or (_home(place.env) if limits_files(box) else None)
    return (*args, "--chdir", cwd) if cwd is not None else tuple(args)


def _whole(view: View, *, limited: bool) -> Iterator[str]:
    """The file system as it is, with the right processes in /proc."""
    yield from ("--dev-bind", "/", "/", *view.processes)
    if limited:
        yield from _SERVICES


def _narrow(box: Box, place: Place, view: View) -> Iterator[str]:
    read, write = box.read or (), box.write or ()
    if "/" in write:
        yield from ("--bind", "/", "/")
    elif "/" in read:
        yield from ("--ro-bind", "/", "/")
    else:
        yield from view.system
    yield from (*view.processes, "--dev", "/dev", "--tmpfs", TMP)
    if "/" in (*read, *write) and reach(box) is not NetworkMode.Unrestricted:
        yield from _SERVICES
    home = _home(place.env)
    if home != TMP and "/" not in (*read, *write):
        yield from ("--perms", "0700", "--tmpfs", home)
    # What may be written comes last, so that it stays writable wherever the lists overlap. The shorter path first: it would hide the longer one.
    for option, paths in (("--ro-bind", read), ("--bind", write)):
        for path in sorted(paths):
            if path != "/":
                yield from (option, path, path)


def rules(box: Box, place: Place, view: View) -> Rules:
    """What Landlock allows; where only the network is limited, that depends on what lies in the root of the file system now."""
    network = reach(box) is NetworkMode.Nothing
    if not limits_files(box):
        return Rules(network=network, changed=tuple(_changeable()))
    output = () if place.output is None else (place.output,)
    return Rules(
        files=True,
        network=network,
        read=box.read or (),
        write=box.write or (),
        shown=(*view.paths, *place.folders),
        used=(*view.devices, *output),
        home=outputs.home(place.output) if place.output is not None else None,
    )


def _changeable() -> Iterator[str]:
    """Everything but /proc, as with bubblewrap: what root owns there starts programs on the host. Rules cannot take it out of `/`, so they name what is beside it."""
    for entry in os.scandir("/"):
        # Looked at here, where whoever asks can wait for a file system that does not answer; it is opened in the event loop's thread.
        if not entry.is_symlink() and entry.path != "/proc" and os.path.exists(entry.path):  # noqa: PTH110 - a str
            yield entry.path


def _environment(place: Place) -> dict[str, str]:
    """Variables that would point to folders which are not there."""
    changed = {"HOME": _home(place.env)}
    if "TMPDIR" in place.env:
        changed["TMPDIR"] = TMP
    return changed


def _home(env: Mapping[str, str]) -> str:
    """Where the private home is: at its usual place, unless that is no place for one."""
    home = os.path.normpath(env.get("HOME") or TMP)
    fits = home.startswith("/") and home != "/" and not _within(home, ("/usr", "/etc", *_MERGED, *_ANEW))
    return home if fits else TMP


def out_of_sight(program: str, why: str) -> str:
    """What to tell whoever wants a program that the box does not show. Pure."""
    return (
        f"cannot start {program!r} in the box: {why}; a box shows the system's programs and what the contract lists: install it below /usr, or list its "
        "folder in box.paths of the contract"
    )


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


@cache
def of_this_host() -> View:
    """What boxes of this host show of it, read-only. Looked up once: a system is not rebuilt under a running controller."""
    devices = tuple(path for name in _DEVICES if os.path.exists(path := f"/dev/{name}"))  # noqa: PTH110 - a str
    return View(tuple(_system()), tuple(_paths()), devices, tuple(_processes()))


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _MERGED:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.is_dir():
            yield from ("--ro-bind", name, name)
    for name in _ETC:
        path = Path("/etc", name)
        if not path.exists():
            continue
        target = os.path.realpath(path)
        if path.is_symlink() and _within(target, ("/usr",)):
            yield from ("--symlink", target, str(path))
        else:
            # A link elsewhere (resolv.conf into /run) is shown as the file that it names, which may come and go with the network.
            yield from ("--ro-bind-try", str(path), str(path))
    yield from ("--symlink", "../tmp", "/var/tmp")  # noqa: S108 - the box's own


def _paths() -> Iterator[str]:
    """As `_system`, to be read below; where a link is, its target is meant."""
    for path in ("/usr", *_MERGED, *(f"/etc/{name}" for name in _ETC)):
        if os.path.exists(path):  # noqa: PTH110 - a str
            yield path


def _processes() -> Iterator[str]:
    """The box's own /proc, without what root alone may read of the kernel, and read-only as a whole.

    The run of a controller that is root owns those files in the eyes of the kernel, capabilities or not: /proc/sys/kernel/core_pattern would start any program on the host.
    """
    yield from ("--proc", "/proc")
    if os.getuid() == 0:
        for entry in sorted(os.scandir("/proc"), key=lambda one: one.name):
            if entry.is_file(follow_symlinks=False) and not entry.stat().st_mode & 0o004:
                yield from ("--ro-bind", "/dev/null", entry.path)
    yield from ("--remount-ro", "/proc")
