"""SQLAlchemy Core statements, compiled once to text for the driver.

Executing a Core statement costs several times what the driver needs for it, so the request path runs the
compiled text on the driver's connection. Rows are written by statements of many rows each, not by
executemany: Python's driver releases the interpreter lock at every row, and each time another thread that
computes may keep it for milliseconds.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, literal_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

Row = tuple[Any, ...]

# Powers of two: any number of rows takes few statements, and few distinct ones are prepared.
_MOST_ROWS = 64

_DIALECT = sqlite.dialect(paramstyle="qmark")

# The dialect always writes OFFSET after LIMIT, and without this as one more parameter.
FROM_THE_FIRST: ColumnElement[int] = literal_column("0")


def compile_query(query: ClauseElement, *parameters: str) -> str:
    """Return the text of a statement whose parameters are the named ones, in this order.

    Raises:
        ValueError: the statement takes its parameters in another order.
    """
    compiled = cast("SQLCompiler", query.compile(dialect=_DIALECT))
    if tuple(compiled.positiontup or ()) != parameters:
        raise ValueError(f"the parameters are {compiled.positiontup}, not {parameters}")
    return str(compiled)


def compile_with_parameters(query: ClauseElement) -> tuple[str, Row]:
    """Return the text of a statement built for this one call, and its parameters."""
    compiled = cast(
        "SQLCompiler", query.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    )
    return str(compiled), tuple(compiled.params[name] for name in compiled.positiontup or ())


def column_list(table: Table, *, without: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of a table's columns, in their order."""
    return tuple(column.name for column in table.columns if column.name not in without)


class ManyRows:
    """A statement that takes any number of rows of equal width.

    ``text`` contains ``{rows}`` where the rows go: ``(?, ?), (?, ?)``.
    """

    __slots__ = ("_by_count", "_row", "_text")

    def __init__(self, text: str, width: int) -> None:
        self._text = text
        self._row = f"({', '.join('?' * width)})"
        self._by_count: dict[int, str] = {}

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Run the statement over the rows, in as few calls as the prepared sizes allow."""
        for text, flat in self._calls(rows):
            connection.execute(text, flat)

    def select(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> list[Row]:
        """Run a query over the rows, and return what it finds for all of them."""
        found: list[Row] = []
        for text, flat in self._calls(rows):
            found += connection.execute(text, flat).fetchall()
        return found

    def _calls(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
        done = 0
        while (left := len(rows) - done) > 0:
            count = min(_MOST_ROWS, 1 << (left.bit_length() - 1))
            yield self.text(count), [value for row in rows[done : done + count] for value in row]
            done += count

    def text(self, count: int) -> str:
        """Return the statement for so many rows."""
        text = self._by_count.get(count)
        if text is None:
            text = self._text.format(rows=", ".join([self._row] * count))
            self._by_count[count] = text
        return text


def insert_many(table: Table, *, replace_by: str = "", without: Sequence[str] = ()) -> ManyRows:
    """Return an INSERT of rows in the order of the table's columns.

    Args:
        table: the table.
        replace_by: the primary key, if a row that exists is to be replaced.
        without: columns that the database fills in.
    """
    names = column_list(table, without=without)
    statement = sqlite.insert(table)
    if replace_by:
        replaced = {name: statement.excluded[name] for name in names if name != replace_by}
        statement = statement.on_conflict_do_update(index_elements=[replace_by], set_=replaced)
    text = str(statement.compile(dialect=_DIALECT, column_keys=list(names)))
    before, _, rest = text.partition("VALUES (")
    after = rest[rest.index(")") + 1 :]
    return ManyRows(f"{before}VALUES {{rows}}{after}", len(names))


def update_many(table: Table, key: str, changed: Sequence[str]) -> ManyRows:
    """Return an UPDATE of rows (key, *changed).

    Only these columns are named: SQLite rewrites the index entries of every column that an UPDATE sets.
    """
    sets = ", ".join(f"{name} = changed.column{number}" for number, name in enumerate(changed, 2))
    # Core cannot render an UPDATE … FROM (VALUES …) with SQLite's column names.
    text = (
        f"WITH changed AS (VALUES {{rows}}) "  # noqa: S608 - only names of columns
        f"UPDATE {table.name} SET {sets} FROM changed WHERE {table.name}.{key} = changed.column1"
    )
    return ManyRows(text, len(changed) + 1)


def select_many(table: Table, *keys: str) -> ManyRows:
    """Return a SELECT of all columns of the rows with these keys."""
    columns = ", ".join(f"{table.name}.{name}" for name in column_list(table))
    same = " AND ".join(f"{table.name}.{name} = wanted.column{number}" for number, name in enumerate(keys, 1))
    # A CROSS JOIN stays in this order: SQLite would scan the table for a list of pairs.
    text = (
        f"WITH wanted AS (VALUES {{rows}}) "  # noqa: S608 - only names of columns
        f"SELECT {columns} FROM wanted CROSS JOIN {table.name} ON {same}"
    )
    return ManyRows(text, len(keys))


def delete_many(table: Table, key: str) -> ManyRows:
    """Return a DELETE of rows by key."""
    text = f"DELETE FROM {table.name} WHERE {key} IN (VALUES {{rows}})"  # noqa: S608 - only names of columns
    return ManyRows(text, 1)
