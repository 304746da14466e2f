"""The stores that the contract suite holds to their promises."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from isthmus.gateway.ports import Store
from isthmus.gateway.store.sqlite import SqliteStore

StoreFactory = Callable[[], Store]
"""Makes a store over the same data each time: what one wrote and closed, the next one opens."""


@pytest.fixture(params=["sqlite"])
def store_factory(request: pytest.FixtureRequest, tmp_path: Path) -> StoreFactory:
    """A factory of each kind of store, over an empty database."""
    match request.param:
        case "sqlite":
            return lambda: SqliteStore(tmp_path / "isthmus.db")
        case kind:
            raise NotImplementedError(kind)


@pytest.fixture
async def store(store_factory: StoreFactory) -> AsyncIterator[Store]:
    """An open, empty store."""
    opened = store_factory()
    await opened.open()
    yield opened
    await opened.close()
