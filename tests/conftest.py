"""Fixtures that every folder of tests may use: databases, installations, a webhook endpoint, a clock that can be moved."""

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.harness import Clock, Postgres, Receiver, Warden, find_libfaketime
from tests.harness.clocks import HOW_TO_GET_IT

_CLUSTER = Path(__file__).parent / "cluster"
# They ask nobody and wait for nobody, so nothing in them is late while Kubernetes is built beside them.
_PATIENT = Path(__file__).parent / "unit"

# How long an example takes says how busy the machine is, nothing of the rule that it tests.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")
# `--hypothesis-profile=quick`: what the tests on the other interpreters use, where it is the interpreter that is tested.
settings.register_profile("quick", settings.get_profile("ours"), max_examples=5)


def pytest_configure() -> None:
    """Who is asked to end does so as after Ctrl-C, so that nodes and servers are ended as well."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no worker is left alone with it at the end; what needs a cluster comes last, as that may still be built, and its firewall after it."""

    def order(item: pytest.Item) -> tuple[int, bool]:
        place = -1 if _PATIENT in item.path.parents else int(_CLUSTER in item.path.parents)
        if "fenced_node" in getattr(item, "fixturenames", ()):
            place = 2
        return place, item.get_closest_marker("slow") is None

    items.sort(key=order)
    for item in items:
        if _CLUSTER in item.path.parents:
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server, shared by all workers of this test run."""
    # Not below pytest's own temporary folders: test runs side by side tidy away each other's.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    server = Postgres(Path(tempfile.gettempdir()) / f"jw-postgres-{run[:12]}")
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Runs the test twice: with the default database (None: SQLite in the state folder) and with the URL of a fresh PostgreSQL database."""
    if request.param == "sqlite":
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture
def make_warden() -> Iterator[Callable[..., Warden]]:
    """Makes installations (keywords of `Warden`); all are closed at the end."""
    made: list[Warden] = []

    def make(**options: object) -> Warden:
        made.append(Warden(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in reversed(made):
        one.close()


@pytest.fixture
def warden(make_warden: Callable[..., Warden]) -> Warden:
    """An installation with the default database."""
    return make_warden()


@pytest.fixture
def each_warden(make_warden: Callable[..., Warden], database: str | None) -> Warden:
    """An installation with each database in turn."""
    return make_warden(database=database)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook endpoint."""
    with Receiver() as open_receiver:
        yield open_receiver


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A wall clock that the test moves; give `clock.environment()` to a Warden. Skips where libfaketime is missing."""
    library = find_libfaketime()
    if library is None:
        pytest.skip(HOW_TO_GET_IT)
    folder = Path(tempfile.mkdtemp(prefix="jw-clock-"))
    yield Clock(library, folder / "offset")
    shutil.rmtree(folder, ignore_errors=True)
