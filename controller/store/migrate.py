"""The schema's version: one linear Alembic history for both databases.

A start on an up-to-date database costs one SELECT; Alembic itself is imported only when there is something to do.
"""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from controller.base.errors import StoreUnavailable
from controller.store.version import HEAD

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6A6F6277


def current(engine: Engine) -> str | None:
    """The version of the database's schema, None if it is empty."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def bring_up(engine: Engine, *, upgrade: bool) -> None:
    """Leave the schema at `HEAD`. Errors: StoreUnavailable when it is newer than this program, or older and `upgrade` is off."""
    version = current(engine)
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
    _upgrade(engine)


def _upgrade(engine: Engine) -> None:
    # Alembic costs 100 ms to import, and is needed once per release.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # Two replicas may start at once on an old schema.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
