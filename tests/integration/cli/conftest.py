"""Fixtures: a filled place, with and without a controller that serves it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.place import Place, Serving


@pytest.fixture
def place() -> Iterator[Place]:
    """A fresh installation; its path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="jw-"))
    made = Place(folder)
    made.source()
    yield made
    made.store.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["served", "alone"])
def either(request: pytest.FixtureRequest, place: Place) -> Iterator[Place]:
    """The installation once with a controller behind its socket and once without: answers must be the same."""
    if request.param == "alone":
        yield place
        return
    with Serving(place):
        yield place
