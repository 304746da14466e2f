"""The stores that the contract suite holds to their promises."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.postgresql_server import Databases

from isthmus.gateway.ports import Store
from isthmus.gateway.store.postgresql import PostgresqlStore
from isthmus.gateway.store.sqlite import SqliteStore

StoreFactory = Callable[[], Store]
"""Makes a store over the same data each time: what one wrote and closed, the next one opens."""


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], StoreFactory]]:
    """Makes an empty database of each kind of store, and returns the factory of stores over it."""
    numbers = itertools.count()

    def sqlite() -> StoreFactory:
        path = tmp_path / f"isthmus-{next(numbers)}.db"
        return lambda: SqliteStore(path)

    if request.param == "sqlite":
        yield sqlite
        return
    databases: Databases = request.getfixturevalue("postgresql_databases")
    made: list[str] = []

    def postgresql() -> StoreFactory:
        dsn = databases.create()
        made.append(dsn)
        return lambda: PostgresqlStore(dsn)

    yield postgresql
    for dsn in made:
        databases.drop(dsn)


@pytest.fixture
def store_factory(new_database: Callable[[], StoreFactory]) -> StoreFactory:
    """A factory of stores over one database, empty at first."""
    return new_database()


@pytest.fixture
async def store(store_factory: StoreFactory) -> AsyncIterator[Store]:
    """An open, empty store."""
    opened = store_factory()
    await opened.open()
    yield opened
    await opened.close()
