"""The pool of readers, over a database that fails when it is told to."""

from collections.abc import AsyncIterator, Callable
from typing import TypeVar, cast

import pytest

from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.ports import Reader
from isthmus.gateway.store.reader_pool import ReaderPool

T = TypeVar("T")


class DatabaseError(Exception):
    """What the driver raises."""


class Database:
    """Counts its connections."""

    errors: tuple[type[Exception], ...] = (DatabaseError,)

    def __init__(self) -> None:
        self.is_there = True
        self.connections = 0

    def connect(self) -> int:
        """Open a connection, if it is there."""
        if not self.is_there:
            raise DatabaseError("connection refused")
        self.connections += 1
        return self.connections

    def read(self, connection: int, query: Callable[[Reader], T]) -> T:
        """Run a query, which gets the connection itself."""
        if not self.is_there:
            raise DatabaseError("the server closed the connection")
        return query(cast("Reader", cast("object", connection)))

    def close(self, connection: int) -> None:
        """Close a connection."""


@pytest.fixture
def database() -> Database:
    """One that is there."""
    return Database()


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[ReaderPool[int]]:
    """A pool of two."""
    pool = ReaderPool(database, size=2, most_waiting=10)
    pool.start()
    yield pool
    pool.stop()


async def test_another_connection_is_made_when_one_failed(database: Database, pool: ReaderPool[int]) -> None:
    """One that failed serves nobody any more."""
    database.is_there = False
    for _ in range(3):
        with pytest.raises(UnavailableError, match="the store cannot be read now"):
            await pool.read(lambda _: None)
    database.is_there = True
    assert await pool.read(lambda reader: cast("object", reader)) == 3


async def test_log_says_once_why_when_queries_fail(
    database: Database, pool: ReaderPool[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked is not told what the database says; who reads the log is."""
    database.is_there = False
    for _ in range(3):
        with pytest.raises(UnavailableError) as refused:
            await pool.read(lambda _: None)
        assert "closed" not in str(refused.value)
    (line,) = caplog.messages
    assert line == "the store cannot be read (the server closed the connection); 1 queries failed"
