"""A real HTTP server on loopback that answers as it is told, a real store of each kind, and outbox items."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from multidict import CIMultiDict
from sqlalchemy import insert

from controller.domain import notices
from controller.domain.notices import Notice
from controller.domain.records import OutboxItem
from controller.domain.states import OutboxState
from controller.store.database import open_store
from controller.store.schema import resources, targets
from controller.store.store import Store, Tx

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Request(msgspec.Struct):
    """What arrived."""

    path: str
    headers: CIMultiDict[str]
    body: bytes
    query: dict[str, str]


class Server:
    """Keeps what it gets. `answer(path, …)` scripts answers: a status, or (status, headers, body); the last one stays. `hang` never answers."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.hanging: set[str] = set()
        self._answers: dict[str, list[tuple[int, dict[str, str], str]]] = {}
        self.base = ""
        self._released = asyncio.Event()

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://{self.base}{path}"

    def answer(self, path: str, *answers: int | tuple[int, dict[str, str], str]) -> None:
        self._answers[path] = [(one, {}, "") if isinstance(one, int) else one for one in answers]

    def at(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def release(self) -> None:
        self._released.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(
            Request(request.path, CIMultiDict(request.headers), await request.read(), dict(request.query))
        )
        if request.path in self.hanging:
            await self._released.wait()
        script = self._answers.get(request.path, [(200, {}, "")])
        status, headers, body = script.pop(0) if len(script) > 1 else script[0]
        return web.Response(status=status, headers=headers, text=body)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Listens on loopback."""
    one = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.base = f"127.0.0.1:{runner.addresses[0][1]}"
    yield one
    one.release()
    await runner.cleanup()


@pytest.fixture
def store(database: str | None, tmp_path: Path) -> Iterator[Store]:
    """An empty store, once on SQLite and once on PostgreSQL."""
    opened = open_store(database or f"sqlite:///{tmp_path}/jobwarden.db")
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """An empty store on SQLite, for what has nothing to do with the database."""
    opened = open_store(f"sqlite:///{tmp_path}/jobwarden.db")
    yield opened
    opened.close()


def make_item(number: int, **changes: object) -> OutboxItem:
    """A failure of job ops/backup for target `hook`."""
    event = str(changes.get("event", "Failed"))
    notice = Notice(event=event, at=NOW, namespace="ops", job="backup", run=f"backup-{number}", exit_code=3)
    item = OutboxItem(
        id=f"item-{number}",
        event=event,
        namespace="ops",
        job="backup",
        target="hook",
        target_kind="NotificationTarget",
        dedupe=f"dedupe-{number}",
        payload=notices.encode(notice),
        state=OutboxState.Pending,
        created_at=NOW + timedelta(microseconds=number),
        not_before=NOW,
        run=f"backup-{number}",
    )
    return msgspec.structs.replace(item, **changes)


def declare(tx: Tx, name: str, spec: dict[str, object], namespace: str = "ops") -> None:
    """A NotificationTarget as reconcile leaves it; namespace '' makes it a cluster target."""
    kind = "NotificationTarget" if namespace else "ClusterNotificationTarget"
    row = {
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "uid": f"{namespace}-{name}",
        "generation": 1,
        "source": "s",
    }
    row |= {"document": b"{}", "digest": "d", "created_at": NOW, "updated_at": NOW}
    key = tx.execute(insert(resources).values(row)).inserted_primary_key
    assert key is not None
    tx.execute(insert(targets).values(id=key[0], namespace=namespace, name=name, spec=msgspec.json.encode(spec)))


async def until(condition: Callable[[], bool], deadline: float = 60) -> None:
    """Wait for the condition."""
    async with asyncio.timeout(deadline):
        while not condition():
            await asyncio.sleep(0.01)
