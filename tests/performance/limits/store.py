"""Limit of B11: SQLAlchemy Core, executemany, 50 pairs a transaction, one thread, no rules.

`store.py PAIRS URL` inserts PAIRS run rows and updates them to finished with 200 bytes of output: the cheapest durable claim and
finish that the same library can do on the same engine (SQLite: WAL, synchronous=FULL).
"""

import json
import sys
import time

import sqlalchemy as sa

METADATA = sa.MetaData()
RUNS = sa.Table(
    "bench_runs",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("finished", sa.Float),
    sa.Column("output", sa.Text),
)
TOGETHER = 50


def main(pairs: int, url: str) -> None:
    """Print pairs per second as JSON."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", durable)
    METADATA.create_all(engine)
    finish = (
        RUNS.update()
        .where(RUNS.c.id == sa.bindparam("which"), RUNS.c.state == "Running")
        .values(state=sa.bindparam("new_state"), finished=sa.bindparam("at"), output=sa.bindparam("tail"))
    )
    tail = "x" * 200
    with engine.connect() as connection:
        begun = time.perf_counter()
        for first in range(0, pairs, TOGETHER):
            numbers = range(first, min(first + TOGETHER, pairs))
            opened = [{"id": n, "job": f"job-{n}", "state": "Running", "started": 1.0} for n in numbers]
            ended = [{"which": n, "new_state": "Succeeded", "at": 2.0, "tail": tail} for n in numbers]
            with connection.begin():
                connection.execute(RUNS.insert(), opened)
                connection.execute(finish, ended)
        took = time.perf_counter() - begun
        done = connection.execute(sa.select(sa.func.count()).where(RUNS.c.state == "Succeeded")).scalar_one()
    if done != pairs:
        raise SystemExit(f"{done} of {pairs} rows are finished")
    print(json.dumps({"value": pairs / took}))


def durable(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


main(int(sys.argv[1]), sys.argv[2])
