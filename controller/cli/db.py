"""`jobwarden db`: the database itself. Upgrade its schema, copy it, bring a copy back, see whether it is sound.

Invariant: what would disturb a running controller is refused while one runs.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from controller.base import paths
from controller.base.people import of_uid
from controller.cli import printing
from controller.cli.failures import NO
from controller.cli.settings import current, database_option, output_option

F = TypeVar("F", bound=Callable[..., Any])
_form = output_option("text", "json", "yaml")


@click.group(epilog="\b\nExample:\n  jobwarden db backup jobs.backup")
@database_option
def db() -> None:
    """Upgrade, back up, restore or check the database."""


@db.command(epilog="\b\nExample:\n  jobwarden db upgrade --db postgresql://jobs@db.example.org/jobs")
@database_option
@_form
def upgrade(output: str) -> None:
    """Bring the schema to the version of this command. `jobwarden run` does it by itself when it starts."""
    from controller.store.version import HEAD  # noqa: PLC0415 - with what follows, for a quick --help

    with _opened(create=True, upgrade=True):
        printing.answer({"schema": HEAD}, output, f"the schema is {HEAD}")


@db.command(epilog="\b\nExample:\n  jobwarden db backup /backups/jobs-$(date +%F).db")
@click.argument("target", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@database_option
@_form
def backup(target: Path, output: str) -> None:
    """Write a consistent copy of everything into a new SQLite FILE, also while a controller runs."""
    from controller.store import backup as copies  # noqa: PLC0415 - as above

    with _opened(create=False) as store:
        size = copies.backup(store, target.absolute())
    printing.answer({"file": str(target), "bytes": size}, output, f"{target}: {size} bytes")


@db.command(epilog="\b\nExample:\n  jobwarden db restore /backups/jobs-2026-01-31.db --hold")
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--hold", is_flag=True, help="Hold every job, to look around first; `jobwarden release` lifts it.")
@database_option
@_form
def restore(source: Path, output: str, *, hold: bool) -> None:
    """Replace the whole database by a backup. No controller may run. Nothing that was due before fires again."""
    import msgspec  # noqa: PLC0415 - as above

    from controller.store import backup as copies  # noqa: PLC0415
    from controller.store.database import FileLock  # noqa: PLC0415

    now = datetime.now(UTC)
    file = paths.sqlite_file(current().database)
    with _opened(create=True, upgrade=True) as store:
        lock = FileLock.take(file, now) if file is not None else None
        try:
            restored = copies.restore(store, source, now, hold=hold, actor=of_uid(os.getuid()).name)
        finally:
            if lock is not None:
                lock.release()
    text = f"{restored.jobs} jobs and {restored.runs} runs are back"
    if restored.ended_runs or restored.cancelled_dispatches:
        text += f"; {restored.ended_runs} open runs and {restored.cancelled_dispatches} waiting dispatches were ended"
    printing.answer(msgspec.to_builtins(restored), output, text + ("; every job is held" if hold else ""))


@db.command(epilog="\b\nExample:\n  jobwarden db check")
@database_option
@_form
def check(output: str) -> int:
    """See whether the database is sound. Exits with 1 if it is not."""
    from controller.store import backup as copies  # noqa: PLC0415 - as above

    with _opened(create=False) as store:
        problems = copies.check(store)
    printing.answer({"problems": problems}, output, "\n".join(problems) or "the database is sound")
    return NO if problems else 0


@contextmanager
def _opened(*, create: bool, upgrade: bool = False) -> Iterator[Any]:
    """The store for the length of a block. Errors: StoreUnavailable."""
    from controller.store.database import open_store  # noqa: PLC0415 - 150 ms that --help need not wait for

    store = open_store(current().database, create=create, upgrade=upgrade)
    try:
        yield store
    finally:
        store.close()
