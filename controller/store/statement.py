"""Statements that are compiled once and then handed to the driver as they are.

SQLAlchemy writes the SQL of both databases and knows how values are stored; but to run a statement through it costs several times what the
database needs for it, and a turn of the dispatcher runs a dozen. A `Statement` keeps what was compiled, so that running it is binding, the
driver, and plain tuples with names. What is asked rarely is asked through SQLAlchemy itself.

    _DUE = Statement(select(jobs).where(jobs.c.next_fire_at <= bindparam("now")))
    for row in _DUE.rows(tx, {"now": now}): row.name

Invariant: errors of the driver arrive as SQLAlchemy's, as everywhere else in the store.
"""

import contextlib
import importlib
import json
from collections import namedtuple
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from sqlalchemy import ARRAY, Column, Dialect, Executable, Insert, LargeBinary, Select, Table, Text, bindparam
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import Boolean, TypeDecorator, TypeEngine

from controller.store.store import Tx

Values = Mapping[str, Any]
Processor = Callable[[Any], Any]
_NONE: Values = {}


class Statement:
    """One statement with named parameters, for both databases."""

    def __init__(self, construct: Executable | Callable[[Dialect], Executable]) -> None:
        """`construct` may be made for a dialect. An INSERT fills the columns that its first row names, and every other has to name the same."""
        self._construct = construct
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, tx: Tx, values: Values = _NONE) -> list[Any]:
        """What a question answers: tuples with the names of its columns."""
        compiled = self._for(tx, values)
        with _cursor(tx, compiled.sql) as cursor:
            cursor.execute(compiled.sql, compiled.bind(values))
            found = cursor.fetchall()
        return compiled.read(found)

    def scalars(self, tx: Tx, values: Values = _NONE) -> list[Any]:
        """The first column of what a question answers."""
        return [row[0] for row in self.rows(tx, values)]

    def run(self, tx: Tx, values: Values = _NONE) -> int:
        """Change something; gives how many rows."""
        compiled = self._for(tx, values)
        with _cursor(tx, compiled.sql) as cursor:
            cursor.execute(compiled.sql, compiled.bind(values))
            return int(cursor.rowcount)

    def run_all(self, tx: Tx, each: Sequence[Values]) -> int:
        """Change something once for each of these; gives how many rows in all. Nothing happens for none."""
        if not each:
            return 0
        compiled = self._for(tx, each[0])
        with _cursor(tx, compiled.sql) as cursor:
            cursor.executemany(compiled.sql, [compiled.bind(values) for values in each])
            return int(cursor.rowcount)

    def sql(self, dialect: Dialect) -> str:
        """The text that the driver gets: for looking at its plan."""
        return self._compile(dialect, _NONE).sql

    def _for(self, tx: Tx, values: Values) -> "_Compiled":
        found = self._compiled.get(tx.dialect.name)
        if found is None:
            found = self._compiled[tx.dialect.name] = self._compile(tx.dialect, values)
        return found

    def _compile(self, dialect: Dialect, values: Values) -> "_Compiled":
        construct = self._construct if isinstance(self._construct, Executable) else self._construct(dialect)
        return _Compiled(construct, dialect, list(values) if values and isinstance(construct, Insert) else None)


def insertion(table: Table, *, unless_there: bool = False) -> Statement:
    """An INSERT; `unless_there` passes over rows that a unique index refuses."""
    if not unless_there:
        return Statement(table.insert())
    return Statement(lambda dialect: dialect_insert(dialect, table).on_conflict_do_nothing())


def dialect_insert(dialect: Dialect, table: Table) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT."""
    # Only the one that is used is imported: the other's is a tenth of what a controller imports.
    return importlib.import_module(f"sqlalchemy.dialects.{dialect.name}").insert(table)


class _Compiled:
    """A statement for one dialect: its text, how its parameters are bound, how its rows are read."""

    def __init__(self, construct: Executable, dialect: Dialect, columns: Sequence[str] | None) -> None:
        compiled = construct.compile(  # type: ignore[attr-defined]
            dialect=dialect, column_keys=columns, compile_kwargs={"render_postcompile": True}
        )
        assert isinstance(compiled, SQLCompiler)
        self.sql = str(compiled)
        self._fixed = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._binders = [(name, _binder(bind.type, dialect)) for name, bind in _in_order(compiled)]
        self._positional = compiled.positional
        shown = list(construct.selected_columns) if isinstance(construct, Select) else []
        names = [getattr(column, "name", None) or "_" for column in shown]
        self._row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # noqa: PYI024 - its columns are known only here
        readers = [(index, _reader(column.type, dialect)) for index, column in enumerate(shown)]
        self._readers = [(index, reader) for index, reader in readers if reader is not None]

    def bind(self, values: Values) -> Any:
        """The parameters as the driver wants them."""
        given = {**self._fixed, **values} if self._fixed else values
        if self._positional:
            return tuple([binder(given[name]) if binder else given[name] for name, binder in self._binders])
        return {name: binder(given[name]) if binder else given[name] for name, binder in self._binders}

    def read(self, found: list[Any]) -> list[Any]:
        """Tuples of the driver as rows."""
        if not self._readers:
            return [self._row._make(values) for values in found]
        rows = []
        for values in found:
            row = list(values)
            for index, reader in self._readers:
                value = row[index]
                if value is not None:
                    row[index] = reader(value)
            rows.append(self._row._make(row))
        return rows


def _in_order(compiled: SQLCompiler) -> list[tuple[str, Any]]:
    names = compiled.positiontup if compiled.positional else list(compiled.binds)
    return [(name, compiled.binds[name]) for name in names or ()]


def _binder(kind: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    # Bytes are bytes to both drivers.
    return None if isinstance(kind, LargeBinary) else kind.dialect_impl(dialect).bind_processor(dialect)


def _reader(kind: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    return None if isinstance(kind, LargeBinary) else kind.dialect_impl(dialect).result_processor(dialect, None)


@contextlib.contextmanager
def _cursor(tx: Tx, sql: str) -> Iterator[Any]:
    """A cursor of the driver within the transaction; its errors become SQLAlchemy's."""
    if not tx.in_transaction():
        tx.begin()
    cursor = tx.connection.cursor()
    try:
        yield cursor
    except tx.dialect.loaded_dbapi.Error as error:
        _failed(tx, sql, error)
    finally:
        cursor.close()


def _failed(tx: Tx, sql: str, error: Exception) -> NoReturn:
    """Raise what SQLAlchemy would have raised. Source: its Connection does the same."""
    dialect = tx.dialect
    lost = dialect.is_disconnect(error, tx.connection, None)  # type: ignore[arg-type]
    if lost:
        tx.invalidate(error)
    raise DBAPIError.instance(
        sql, None, error, dialect.loaded_dbapi.Error, connection_invalidated=lost, dialect=dialect
    ) from error


class among(ColumnElement[bool]):  # noqa: N801 - reads as a function
    """`column` is one of the values of a parameter, however many: the text of the statement stays the same."""

    inherit_cache = False
    type = Boolean()
    # A condition as it is: `… = 1` around it, as for a column of truth values, would keep SQLite from any index.
    _is_implicitly_boolean = True

    def __init__(self, column: Column[Any], name: str) -> None:
        self.column = column
        self.values: Any = bindparam(name, type_=_Listed(column.type))


class _Listed(TypeDecorator[Collection[Any]]):
    """A list as one parameter: an array for PostgreSQL, JSON for SQLite."""

    impl = Text
    cache_ok = False

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self._item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return ARRAY(self._item) if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: Collection[Any] | None, dialect: Dialect) -> Any:
        values = list(value or ())
        return values if dialect.name == "postgresql" else json.dumps(values)


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = compiler.process(element.column, **options), compiler.process(element.values, **options)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - written by the compiler


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = compiler.process(element.column, **options), compiler.process(element.values, **options)
    return f"{column} = ANY ({values})"
