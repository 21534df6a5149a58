"""A world on each database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.store.database import open_store
from tests.integration.dispatch.world import World


@pytest.fixture
def world(tmp_path: Path, database: str | None) -> Iterator[World]:
    """A store with a clock moved by hand, on SQLite and on PostgreSQL."""
    store = open_store(database or f"sqlite:///{tmp_path}/world.db")
    yield World(store)
    store.close()
