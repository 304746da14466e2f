"""Statements: compiled once, over any number of rows."""

import sqlite3
from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, select

from isthmus.gateway.store.statements import (
    compile_query,
    delete_many,
    insert_many,
    update_many,
)

THINGS = Table(
    "things",
    MetaData(),
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("name", Text),
    Column("size", Integer),
)
COUNTS = [0, 1, 2, 3, 63, 64, 65, 200]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A database with one table."""
    opened = sqlite3.connect(":memory:", isolation_level=None)
    opened.execute("CREATE TABLE things (number INTEGER PRIMARY KEY, name TEXT, size INTEGER)")
    yield opened
    opened.close()


def stored(connection: sqlite3.Connection) -> list[tuple[int, str, int]]:
    """Return all rows."""
    return connection.execute("SELECT * FROM things ORDER BY number").fetchall()


@pytest.mark.parametrize("count", COUNTS)
def test_all_rows_are_written_when_there_are_so_many(connection: sqlite3.Connection, count: int) -> None:
    """Whatever the number of rows, each is inserted, updated and deleted once."""
    rows = [(number, f"n{number}", number * 2) for number in range(count)]
    insert_many(THINGS).run(connection, rows)
    assert stored(connection) == rows
    update_many(THINGS, "number", ["size"]).run(connection, [(number, number * 3) for number, _, _ in rows])
    assert stored(connection) == [(number, name, number * 3) for number, name, _ in rows]
    delete_many(THINGS, "number").run(connection, [(number,) for number in range(0, count, 2)])
    assert [row[0] for row in stored(connection)] == list(range(1, count, 2))


def test_row_is_replaced_when_its_key_exists(connection: sqlite3.Connection) -> None:
    """All columns are those of the new row."""
    put = insert_many(THINGS, replace_by=("number",))
    put.run(connection, [(1, "a", 1), (2, "b", 2)])
    put.run(connection, [(2, "c", 3), (3, "d", 4)])
    assert stored(connection) == [(1, "a", 1), (2, "c", 3), (3, "d", 4)]


def test_column_is_left_to_the_database_when_it_is_excluded(connection: sqlite3.Connection) -> None:
    """The database counts by itself."""
    insert_many(THINGS, without=["number"]).run(connection, [("a", 1), ("b", 2)])
    assert stored(connection) == [(1, "a", 1), (2, "b", 2)]


def test_query_is_refused_when_its_parameters_come_in_another_order() -> None:
    """A caller passes a tuple: its order has to be the statement's."""
    query = select(THINGS).where(THINGS.c.name == bindparam("name"), THINGS.c.size == bindparam("size"))
    assert "?" in compile_query(query, "name", "size")
    with pytest.raises(ValueError, match="parameters"):
        compile_query(query, "size", "name")
