"""SQLAlchemy Core statements, compiled once to text for the drivers of both databases.

Executing a Core statement costs several times what the driver needs for it, so the request path runs the
compiled text on the driver's connection. Rows are written by statements of many rows each, not by
executemany: Python's driver of SQLite releases the interpreter lock at every row, and each time another
thread that computes may keep it for milliseconds; to PostgreSQL every row would be a message of its own.

A statement is declared once, in Core or with one of the functions for many rows. What only one database has
is left out by the other one's compiler: ``with_for_update`` says nothing to SQLite, where commands are alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, cast

from sqlalchemy import Column, ColumnElement, Dialect, LargeBinary, Table, Text, literal_column
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg as postgresql_psycopg
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from isthmus.gateway.store.driver import Connection

# Powers of two: any number of rows takes few statements, and few distinct ones are prepared.
_MOST_ROWS = 64

_SQLITE = sqlite.dialect(paramstyle="qmark")
_POSTGRESQL: Dialect = postgresql_psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]
_POSTGRESQL_TYPES: Mapping[type, str] = {Text: "text", LargeBinary: "bytea"}
_NUMBER = "bigint"
_WITH_LISTS: Mapping[str, bool] = {"render_postcompile": True}

# The dialect of SQLite always writes OFFSET after LIMIT, and without this as one more parameter.
FROM_THE_FIRST: ColumnElement[int] = literal_column("0")


def unindexed(column: ColumnElement[str]) -> ColumnElement[str]:
    """Return a text for a condition that no index serves, beside one that leaves a row or two.

    As long as PostgreSQL has no statistics of a table it may take an index that begins with this column
    instead, and go through everything that a namespace ever called; and such a plan is kept.
    """
    return column + literal_column("''")


Row = tuple[Any, ...]


class Query(str):
    """A statement: the text itself is SQLite's, which its driver takes as it is; PostgreSQL's comes with it.

    ``types`` are PostgreSQL's types of the parameters of a row, where the statement takes rows; any of them
    may be None then. ``postgresql`` is the text, or what makes it when it is asked for.
    """

    __slots__ = ("_postgresql", "types")

    _postgresql: str | Callable[[], str]
    types: tuple[str, ...]

    def __new__(
        cls, sqlite_text: str, postgresql: str | Callable[[], str], types: tuple[str, ...] = ()
    ) -> Self:
        """Make a statement of both texts."""
        query = super().__new__(cls, sqlite_text)
        query._postgresql = postgresql
        query.types = types
        return query

    @property
    def postgresql(self) -> str:
        """The text for PostgreSQL."""
        if not isinstance(self._postgresql, str):
            self._postgresql = self._postgresql()
        return self._postgresql


def compile_query(query: ClauseElement, *parameters: str) -> Query:
    """Return a statement whose parameters are the named ones, in this order.

    Raises:
        ValueError: the statement takes its parameters in another order.
    """
    texts = []
    for dialect in (_SQLITE, _POSTGRESQL):
        compiled = cast("SQLCompiler", query.compile(dialect=dialect))
        if tuple(compiled.positiontup or ()) != parameters:
            raise ValueError(f"the parameters are {compiled.positiontup}, not {parameters}")
        texts.append(str(compiled))
    lite, post = texts
    return Query(lite, post)


def compile_with_parameters(query: ClauseElement) -> tuple[Query, Row]:
    """Return a statement built for this one call, and its parameters.

    A limit needs an offset, FROM_THE_FIRST, for both databases to take the same parameters.
    """
    lite = cast("SQLCompiler", query.compile(dialect=_SQLITE, compile_kwargs=_WITH_LISTS))
    parameters = _in_order(lite)

    def compile_for_postgresql() -> str:
        post = cast("SQLCompiler", query.compile(dialect=_POSTGRESQL, compile_kwargs=_WITH_LISTS))
        if _in_order(post) != parameters:
            raise ValueError(f"PostgreSQL takes {_in_order(post)} as parameters, SQLite {parameters}")
        return str(post)

    return Query(str(lite), compile_for_postgresql), parameters


def _in_order(compiled: SQLCompiler) -> Row:
    return tuple(compiled.params[name] for name in compiled.positiontup or ())


def column_list(table: Table, *, without: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of a table's columns, in their order."""
    return tuple(column.name for column in table.columns if column.name not in without)


class ManyRows:
    """A statement that takes any number of rows of equal width.

    The texts contain ``{rows}`` where the rows go: ``(?, ?), (?, ?)``. ``types`` are PostgreSQL's, of the
    columns of a row.
    """

    __slots__ = ("_by_count", "_first_row", "_later_row", "_postgresql", "_row", "_sqlite", "_types")

    def __init__(self, sqlite_text: str, postgresql_text: str, types: Sequence[str]) -> None:
        self._sqlite = sqlite_text
        self._postgresql = postgresql_text
        self._types = tuple(types)
        self._row = f"({', '.join('?' * len(types))})"
        # The first row decides for all of them.
        self._first_row = f"({', '.join(f'%s::{name}' for name in types)})"
        self._later_row = f"({', '.join(['%s'] * len(types))})"
        self._by_count: dict[int, Query] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run the statement over the rows, in as few calls as the prepared sizes allow."""
        for text, flat in self._calls(rows):
            connection.execute(text, flat)

    def select(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """Run a query over the rows, and return what it finds for all of them."""
        found: list[Row] = []
        for text, flat in self._calls(rows):
            found += connection.execute(text, flat).fetchall()
        return found

    def _calls(self, rows: Sequence[Row]) -> Iterator[tuple[Query, list[Any]]]:
        done = 0
        while (left := len(rows) - done) > 0:
            count = min(_MOST_ROWS, 1 << (left.bit_length() - 1))
            yield self.text(count), [value for row in rows[done : done + count] for value in row]
            done += count

    def text(self, count: int) -> Query:
        """Return the statement for so many rows."""
        text = self._by_count.get(count)
        if text is None:
            rows = ", ".join([self._row] * count)
            typed_rows = ", ".join([self._first_row, *[self._later_row] * (count - 1)])
            text = self._by_count[count] = Query(
                self._sqlite.format(rows=rows), self._postgresql.format(rows=typed_rows), self._types
            )
        return text


def insert_many(table: Table, *, replace_by: Sequence[str] = (), without: Sequence[str] = ()) -> ManyRows:
    """Return an INSERT of rows in the order of the table's columns.

    Args:
        table: the table.
        replace_by: the columns of the primary key, if a row that exists is to be replaced.
        without: columns that the database fills in.
    """
    names = column_list(table, without=without)
    texts: list[str] = []
    for insert, dialect in ((sqlite.insert, _SQLITE), (postgresql.insert, _POSTGRESQL)):
        statement = insert(table)
        if replace_by:
            replaced = {name: statement.excluded[name] for name in names if name not in replace_by}
            statement = statement.on_conflict_do_update(index_elements=[*replace_by], set_=replaced)
        # Inline: nothing is to be returned of what the database fills in.
        text = str(statement.inline().compile(dialect=dialect, column_keys=list(names)))
        before, _, rest = text.partition("VALUES (")
        texts.append(f"{before}VALUES {{rows}}{rest[rest.index(')') + 1 :]}")
    lite, post = texts
    return ManyRows(lite, post, postgresql_types(table, names))


def append_many(table: Table, position: str, *, time: str) -> ManyRows:
    """Return an INSERT of rows at the end of a log, in the order of the table's columns without ``position``.

    The database gives the places. On PostgreSQL no row has a time before that of the row in the last place,
    which may be another gateway's; the embedded store, being alone, sees to it itself. Run it between
    ``Group.begin_commit_order`` and the commit.
    """
    names = column_list(table, without=[position])
    last = (
        f"coalesce((SELECT {time} FROM {table.name} "  # noqa: S608 - only names of columns
        f"ORDER BY {position} DESC LIMIT 1), 0)"
    )
    values = ", ".join(
        f"greatest(column{number}, {last})" if name == time else f"column{number}"
        for number, name in enumerate(names, 1)
    )
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    return ManyRows(
        f"{into} VALUES {{rows}}",
        f"{into} SELECT {values} FROM (VALUES {{rows}}) AS appended",  # noqa: S608 - only names of columns
        postgresql_types(table, names),
    )


def update_many(table: Table, key: str, changed: Sequence[str]) -> ManyRows:
    """Return an UPDATE of rows (key, *changed).

    Only these columns are named: SQLite rewrites the index entries of every column that an UPDATE sets.
    """
    sets = ", ".join(f"{name} = changed.column{number}" for number, name in enumerate(changed, 2))
    # Core cannot render an UPDATE … FROM (VALUES …) with these column names, which both databases give.
    text = (
        f"WITH changed AS (VALUES {{rows}}) "  # noqa: S608 - only names of columns
        f"UPDATE {table.name} SET {sets} FROM changed WHERE {table.name}.{key} = changed.column1"
    )
    return ManyRows(text, text, postgresql_types(table, [key, *changed]))


def select_many(table: Table, *keys: str, lock_by: str = "") -> ManyRows:
    """Return a SELECT of all columns of the rows with these keys.

    Args:
        table: the table.
        keys: the columns that name a row. The first leaves a row or two, and is looked up; the others are
            texts that only tell these apart (``unindexed``).
        lock_by: on PostgreSQL, lock the rows until the commit, in the order of this column.
    """
    columns = ", ".join(f"{table.name}.{name}" for name in column_list(table))
    first, *others = keys
    same = f"{table.name}.{first} = wanted.column1"
    for number, name in enumerate(others, 2):
        same += f" AND {table.name}.{name} || '' = wanted.column{number}"
    # A CROSS JOIN stays in this order: SQLite would scan the table for a list of pairs.
    lite = (
        f"WITH wanted AS (VALUES {{rows}}) "  # noqa: S608 - only names of columns
        f"SELECT {columns} FROM wanted CROSS JOIN {table.name} ON {same}"
    )
    post = lite.replace("CROSS JOIN", "JOIN")
    if lock_by:
        post += f" ORDER BY {table.name}.{lock_by} FOR NO KEY UPDATE OF {table.name}"
    return ManyRows(lite, post, postgresql_types(table, keys))


def delete_many(table: Table, key: str) -> ManyRows:
    """Return a DELETE of rows by key."""
    return for_keys(f"DELETE FROM {table.name}", table, key)  # noqa: S608 - only names of columns


def for_keys(text: str, table: Table, key: str) -> ManyRows:
    """Return a statement, all but its condition written, about the rows with these keys."""
    text = f"{text} WHERE {key} IN (VALUES {{rows}})"
    return ManyRows(text, text, postgresql_types(table, [key]))


def postgresql_types(table: Table, names: Sequence[str]) -> list[str]:
    """Return what PostgreSQL calls the types of columns: text, bytes, and else numbers."""
    return [_postgresql_type(table.c[name]) for name in names]


def _postgresql_type(column: Column[Any]) -> str:
    return _POSTGRESQL_TYPES.get(type(column.type), _NUMBER)
