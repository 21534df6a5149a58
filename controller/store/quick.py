"""The list of jobs straight from a SQLite file, read-only, for a command that has to be fast and finds no controller.

The command asks here first and takes the long way when it gets None. Invariant: this never writes, not even a journal, and never says anything about
a database of another version.
"""

import sqlite3
from pathlib import Path

from controller.store import lines
from controller.store.lines import JobLine
from controller.store.version import HEAD

_BUSY_SECONDS = 5.0


def job_lines(file: Path, namespace: str, name: str | None = None) -> list[JobLine] | None:
    """As `views.job_lines`; None when the file is not there, is of another version, or cannot be read like this."""
    text, parameters = lines.statement(namespace, name, labels=False)
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    except sqlite3.Error:
        return None
    try:
        if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(HEAD,)]:
            return None
        return [lines.line(row) for row in connection.execute(text, parameters)]
    except sqlite3.Error:
        return None
    finally:
        connection.close()
