"""The arguments of a box: what they show is what the contract lists, what the system needs, and what is the run's own."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.abilities import Abilities, Ability, Means, confines, means
from controller.domain.trust import Box, Enforcement, NetworkMode, Profile
from controller.executors import box
from controller.executors.box import Place, View, arguments
from controller.executors.protocol import BoxRequest

VIEW = View(system=("--ro-bind", "/usr", "/usr"))
PLACE = Place(
    {"HOME": "/home/u", "TMPDIR": "/var/tmp/x"}, output="/state/outputs/run-1", folders=("/state/keys/run-1",)
)
HERE = Abilities({}, "/usr/bin/bwrap")
BINDS = ("--bind", "--ro-bind", "--dev-bind", "--ro-bind-try")

paths = st.lists(st.sampled_from(["/srv", "/srv/data", "/opt", "/home/u/work", "/var/lib/x"]), max_size=3, unique=True)
boxes = st.builds(
    Box,
    profile=st.sampled_from(Profile),
    read=st.none() | paths.map(tuple),
    write=st.none() | paths.map(tuple),
    network=st.sampled_from(NetworkMode),
    hosts=st.just(("example.com",)),
).filter(confines)


def binds(made: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(option, source, destination) of each."""
    return [
        (option, source, destination)
        for option, source, destination in zip(made, made[1:], made[2:], strict=False)
        if option in BINDS
    ]


@given(boxes)
def test_every_box_has_a_user_and_processes_of_its_own_and_no_capability(wanted: Box) -> None:
    """And ends with its controller."""
    made = arguments(wanted, PLACE, VIEW)
    for option in ("--unshare-user", "--unshare-pid", "--die-with-parent"):
        assert option in made
    assert ("--cap-drop", "ALL") in itertools.pairwise(made)


@given(boxes)
def test_a_narrow_view_shows_nothing_that_is_not_named(wanted: Box) -> None:
    """What may be written is what is listed for that, and the one file for outputs."""
    made = arguments(wanted, PLACE, VIEW)
    if wanted.profile is Profile.Nothing and wanted.read is None and wanted.write is None:
        assert ("--dev-bind", "/", "/") in binds(made)
        return
    shown = {destination for _, _, destination in binds(made)}
    allowed = {*(wanted.read or ()), *(wanted.write or ()), "/usr", PLACE.output, *PLACE.folders}
    assert shown == allowed
    assert {one for option, one, _ in binds(made) if option == "--bind"} == {*(wanted.write or ()), PLACE.output}
    assert all(source == destination for _, source, destination in binds(made))
    assert made[made.index("--remount-ro", made.index("/tmp")) + 1] == "/"


@given(boxes)
def test_the_network_is_taken_away_unless_all_of_it_is_allowed(wanted: Box) -> None:
    """An isolated run has none by itself."""
    limited = wanted.network is not NetworkMode.Unrestricted or wanted.profile is Profile.Isolated
    assert ("--unshare-net" in arguments(wanted, PLACE, VIEW)) == limited


@given(boxes)
def test_what_may_be_written_stays_so_wherever_lists_overlap(wanted: Box) -> None:
    """A later mount hides an earlier one."""
    made = [
        one for one in binds(arguments(wanted, PLACE, VIEW)) if one[1] not in ("/usr", PLACE.output, *PLACE.folders)
    ]
    options = [option for option, _, _ in made if option != "--dev-bind"]
    assert options == sorted(options, key=lambda option: option == "--bind")


@given(boxes, st.sets(st.sampled_from(Ability), min_size=1))
def test_block_never_starts_a_box_that_lacks_something(wanted: Box, missing: set[Ability]) -> None:
    """And Warn starts it with what is possible, and says what is not."""
    wanted = msgspec.structs.replace(wanted, read=None, write=None)
    abilities = Abilities(dict.fromkeys(missing, "this is a test"), "/usr/bin/bwrap")
    blocked = box.request(msgspec.structs.replace(wanted, enforcement=Enforcement.Block), PLACE, abilities)
    warned = box.request(msgspec.structs.replace(wanted, enforcement=Enforcement.Warn), PLACE, abilities)
    if isinstance(blocked, str):
        assert "this is a test" in blocked
        assert isinstance(warned, BoxRequest)
        assert warned.note is not None
        assert "not enforced: " in warned.note
    else:
        assert warned == blocked
    if isinstance(warned, BoxRequest) and Ability.NoNetwork in missing:
        assert "--unshare-net" not in warned.args
        assert warned.hosts is None


LANDLOCK = Abilities(dict.fromkeys(Ability, "there is no bubblewrap"), landlock=7)


@given(boxes)
def test_landlock_allows_what_is_listed_and_what_any_program_needs(wanted: Box) -> None:
    """The same lists, the same folders of the run, the same file; links only where nobody who may write a contract, or run, has put them."""
    made = box.rules(wanted, PLACE, View(paths=("/usr",), devices=("/dev/null",)))
    limited = wanted.profile is not Profile.Nothing or wanted.read is not None or wanted.write is not None
    assert made.files == limited
    if limited:
        assert (made.read, made.write) == (wanted.read or (), wanted.write or ())
        assert made.shown == ("/usr", *PLACE.folders)
        assert made.used == ("/dev/null", PLACE.output)
        assert made.home == f"{PLACE.output}~"
        assert made.changed == ()
    else:
        assert made.home is None
        assert made.read == made.write == made.shown == made.used == ()
        assert "/tmp" in made.changed
        assert not {"/", "/proc"} & set(made.changed)


@given(boxes, st.sampled_from([Enforcement.Block, Enforcement.Warn]))
def test_where_landlock_stands_in_nothing_is_promised_by_halves(wanted: Box, enforcement: Enforcement) -> None:
    """Block: all of it or words. Warn: what it can keep, and words about the rest."""
    wanted = msgspec.structs.replace(wanted, read=None, write=None, enforcement=enforcement)
    if not confines(wanted):
        return
    made = box.request(wanted, PLACE, LANDLOCK)
    if means(wanted, LANDLOCK) is Means.Landlock:
        assert isinstance(made, BoxRequest)
        assert (made.note, made.args) == (None, ())
        assert made.rules is not None
    elif enforcement is Enforcement.Block:
        assert made == "the box cannot be made on this host: there is no bubblewrap"
    else:
        assert isinstance(made, BoxRequest)
        assert made.note == "not enforced: the box cannot be made on this host: there is no bubblewrap"
        assert made.args == ()
        assert made.hosts is None


@pytest.mark.parametrize("home", ["", "/", "relative", "/usr/share/x", "/etc", "/dev/shm", "/proc/self", "/tmp"])
def test_a_home_that_is_no_place_for_one_is_tmp(home: str) -> None:
    """Nothing of the system is hidden by a private home."""
    made = box.request(Box(profile=Profile.Restricted), Place({"HOME": home}), HERE)
    assert isinstance(made, BoxRequest)
    assert made.env["HOME"] == "/tmp"
    assert "--perms" not in made.args


def test_variables_that_would_point_outside_are_set_anew() -> None:
    """Home and temporary folder, where they were set at all; with the whole view nothing is changed."""
    narrow = box.request(Box(profile=Profile.Restricted), PLACE, HERE)
    assert isinstance(narrow, BoxRequest)
    assert narrow.env == {"HOME": "/home/u", "TMPDIR": "/tmp"}
    whole = box.request(Box(network=NetworkMode.Nothing), PLACE, HERE)
    assert isinstance(whole, BoxRequest)
    assert whole.env == {}


@pytest.mark.parametrize("cwd", ["/usr/share", "/tmp/x", "/home/u/x", "/srv/a", "/opt"])
def test_a_working_directory_within_the_view_is_entered(cwd: str) -> None:
    """Whoever listed it."""
    wanted = Box(profile=Profile.Restricted, read=("/opt",), write=("/srv",))
    made = box.request(wanted, Place({"HOME": "/home/u"}, cwd=cwd), HERE)
    assert isinstance(made, BoxRequest)
    assert made.args[-2:] == ("--chdir", cwd)


@pytest.mark.parametrize("cwd", ["/", "/root", "/srv2", "/opt/../root", "/usr/../var"])
def test_one_outside_is_refused(cwd: str) -> None:
    """However it is written."""
    wanted = Box(profile=Profile.Restricted, read=("/opt",), write=("/srv",))
    assert isinstance(box.request(wanted, Place({"HOME": "/home/u"}, cwd=cwd), HERE), str)
