"""Statements that are compiled once: values come back as they went in, errors are the store's, and none of them reads all history."""

import importlib
import pkgutil
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import bindparam, delete, select, text
from sqlalchemy.exc import IntegrityError

from controller import store as package
from controller.store.schema import dispatches, jobs, tombstones
from controller.store.statement import Statement, among, insertion
from controller.store.store import Store, Tx

NOW = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
GROWING = ("runs", "dispatches", "jobs", "approvals", "outbox", "resources", "audit", "tombstones", "idempotency_keys")
"""Tables that have a row for everything that ever happened, or for every job."""

PUT = insertion(tombstones, unless_there=True)
STRICT = insertion(tombstones)
NAMED = Statement(select(tombstones).where(among(tombstones.c.name, "names")).order_by(tombstones.c.name))


def row(name: str) -> dict[str, object]:
    return {"kind": "Job", "namespace": "n", "name": name, "fire_digest": "d", "completed_at": NOW}


def test_values_come_back_as_they_went_in(store: Store):
    names = ["it's", 'a "name"', "100 %", "ünï", "x:y"]
    assert store.submit(lambda tx: PUT.run_all(tx, [row(name) for name in names])).result() == len(names)
    for asked in (names, names[:1], [], ["nobody"]):
        found = store.read_now(lambda tx, asked=asked: NAMED.rows(tx, {"names": asked}))
        assert {one.name for one in found} == set(asked) & set(names)
        assert all(one.completed_at == NOW for one in found)


def test_what_is_there_is_passed_over_and_counted_as_nothing(store: Store):
    store.submit(lambda tx: PUT.run_all(tx, [row("a")])).result()
    assert store.submit(lambda tx: PUT.run_all(tx, [row("a"), row("b")])).result() == 1
    assert store.submit(lambda tx: PUT.run_all(tx, [])).result() == 0


def test_a_refused_row_is_an_error_of_sqlalchemy_and_undoes_only_its_own_work(store: Store):
    store.submit(lambda tx: STRICT.run(tx, row("a"))).result()
    with pytest.raises(IntegrityError):
        store.submit(lambda tx: STRICT.run_all(tx, [row("b"), row("a")])).result()
    assert [one.name for one in store.read_now(lambda tx: NAMED.rows(tx, {"names": ["a", "b"]}))] == ["a"]


def test_a_statement_counts_what_it_changed(store: Store):
    store.submit(lambda tx: PUT.run_all(tx, [row("a"), row("b"), row("c")])).result()
    drop = Statement(delete(tombstones).where(among(tombstones.c.name, "names")))
    assert store.submit(lambda tx: drop.run(tx, {"names": {"a", "c", "x"}})).result() == 2


def test_numbers_may_be_asked_for_as_well(store: Store):
    some = Statement(select(jobs.c.id).where(among(jobs.c.id, "ids"), jobs.c.created_at < bindparam("now")))
    assert store.read_now(lambda tx: some.scalars(tx, {"ids": {1, 2**40}, "now": NOW + timedelta(1)})) == []


def statements() -> dict[str, Statement]:
    """Every statement that some module of the store keeps."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg:
            for name, value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).items():
                if isinstance(value, Statement):
                    found[f"{module.name}.{name}"] = value
    return found


def scans(tx: Tx, statement: Statement) -> list[str]:
    """The steps of its plan that read a whole growing table."""
    sql = statement.sql(tx.dialect)
    if tx.dialect.name == "sqlite":
        steps = [
            line[3] for line in tx.connection.cursor().execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?"))
        ]
        return [step for step in steps if step in {f"SCAN {table}" for table in GROWING}]
    cursor = tx.connection.cursor()
    cursor.execute("SET LOCAL enable_seqscan = off")
    # The plan that serves whatever is bound.
    cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    cursor.execute(f"EXPLAIN (GENERIC_PLAN) {numbered(sql)}")
    steps = [line[0] for line in cursor.fetchall()]
    return [step for step in steps if any(f"Seq Scan on {table}" in step for table in GROWING)]


def numbered(sql: str) -> str:
    """Parameters as the server's own, as GENERIC_PLAN wants them."""
    names: dict[str, str] = {}
    while (start := sql.find("%(")) >= 0:
        name = sql[start : sql.index(")s", start) + 2]
        sql = sql.replace(name, names.setdefault(name, f"${len(names) + 1}"))
    return sql.replace("%%", "%")


def test_no_statement_of_a_turn_reads_all_history(store: Store):
    """Partial indexes serve only when the planner sees the word that they are for."""
    known = statements()
    assert len(known) > 15
    asked = {name: store.read_now(lambda tx, one=one: scans(tx, one)) for name, one in known.items()}
    assert {name: steps for name, steps in asked.items() if steps} == {}


def test_the_plan_would_tell(store: Store):
    """The same question with its word as a parameter reads everything: what the test above is for."""
    blind = Statement(select(dispatches).where(text("dispatches.state = :state").bindparams(bindparam("state"))))
    assert store.read_now(lambda tx: scans(tx, blind))


def test_only_a_word_becomes_part_of_a_statement():
    """Columns of words are compared with constants: nothing else may get in there."""
    with pytest.raises(ValueError, match="is not a word"):
        _ = dispatches.c.state == "x' OR '1'='1"
