"""A fresh store on each database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.store.database import open_store
from controller.store.store import Store
from tests.integration.dispatch.world import World


@pytest.fixture
def url(tmp_path: Path, database: str | None) -> str:
    """The URL of an empty database, SQLite and PostgreSQL in turn."""
    return database or f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open store."""
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> World:
    """The store with a clock moved by hand."""
    return World(store)
