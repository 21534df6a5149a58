"""The schema's version: one linear Alembic history for both databases.

A start on an up-to-date database costs one SELECT. A new database gets the tables that the code describes, which is where the history leads, as a
test on both databases says; Alembic, as slow to import as a controller is to start, is needed only where there is something to keep.
"""

from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, PrimaryKeyConstraint, String, Table, inspect, text

from controller.base.errors import StoreUnavailable
from controller.store.schema import metadata
from controller.store.version import HEAD

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6A6F6277
# As Alembic makes it.
_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32)),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def current(connection: Connection) -> str | None:
    """The version of the database's schema, None if it is empty."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(_VERSION.select()).scalar_one_or_none()


def bring_up(engine: Engine, *, upgrade: bool) -> None:
    """Leave the schema at `HEAD`. Errors: StoreUnavailable when it is newer than this program, or older and `upgrade` is off."""
    with engine.connect() as connection:
        version = current(connection)
        if version == HEAD:
            return
        known = sorted(path.name.split("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
        if version is not None and version not in known:
            raise StoreUnavailable(
                f"the database has schema {version}, newer than this program's {HEAD}; use a newer jobwarden"
            )
        if not upgrade:
            raise StoreUnavailable(
                f"the database has schema {version or 'none'}, this program needs {HEAD}; run `jobwarden db upgrade`"
            )
        if engine.dialect.name == "postgresql":
            # Two replicas may start at once on an old schema, or on none.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            version = current(connection)
        if version is None:
            create(connection)
        else:
            run_history(connection)
        connection.commit()


def create(connection: Connection) -> None:
    """Make all tables, at `HEAD`, in a database that has none."""
    metadata.create_all(connection, checkfirst=False)
    _VERSION.create(connection)
    connection.execute(_VERSION.insert().values(version_num=HEAD))


def run_history(connection: Connection) -> None:
    """Run every migration that the database has not seen yet."""
    from alembic import command  # noqa: PLC0415 - slow to import
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
