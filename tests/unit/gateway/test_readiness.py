"""Readiness follows the store."""

import asyncio
import sqlite3
from pathlib import Path
from typing import NoReturn

import pytest
from grpc_health.v1 import health_pb2
from tests.contract.samples import operation, start

from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.ports import UnitOfWork
from isthmus.gateway.readiness import Readiness
from isthmus.gateway.store.sqlite import SqliteStore

SERVICE = "isthmus.v1.OperationService"


async def status(readiness: Readiness, service: str = SERVICE) -> str:
    """Return what a load balancer hears."""
    answer = await readiness.servicer.Check(health_pb2.HealthCheckRequest(service=service), None)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


async def test_gateway_is_ready_when_its_store_answers(tmp_path: Path) -> None:
    """Ready with its store, not ready without, never again after the drain."""
    store = SqliteStore(tmp_path / "isthmus.db")
    await store.open()
    readiness = Readiness(store, [SERVICE])
    await readiness.step()
    assert await status(readiness) == "SERVING"
    await store.close()
    with pytest.raises(UnavailableError):
        await readiness.step()
    assert await status(readiness) == "NOT_SERVING"
    assert await status(readiness, "") == "NOT_SERVING"


async def answer_never(query: object) -> None:
    """Take a question, and never answer."""
    del query
    await asyncio.Event().wait()


async def test_gateway_is_unready_when_its_store_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks again: whatever became of one question, the gateway is not out of service for ever."""
    store = SqliteStore(tmp_path / "isthmus.db")
    await store.open()
    readiness = Readiness(store, [SERVICE])
    with monkeypatch.context() as patch:
        patch.setattr("isthmus.gateway.readiness.ANSWER_SECONDS", 0.01)
        patch.setattr(store, "read", answer_never)
        with pytest.raises(UnavailableError, match="no answer"):
            await readiness.step()
    assert await status(readiness) == "NOT_SERVING"
    await readiness.step()
    assert await status(readiness) == "SERVING"
    await store.close()


async def test_gateway_is_unready_when_its_store_cannot_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until commits succeed again, which it finds out by itself: nobody sends it calls meanwhile."""
    path = tmp_path / "isthmus.db"
    store = SqliteStore(path)
    await store.open()
    readiness = Readiness(store, [SERVICE])
    saboteur = sqlite3.connect(path, isolation_level=None)
    saboteur.execute("CREATE TRIGGER sabotage BEFORE INSERT ON operations BEGIN SELECT missing(); END")
    with pytest.raises(UnavailableError):
        await store.transact(starting)
    saboteur.execute("DROP TRIGGER sabotage")
    with monkeypatch.context() as patch:
        patch.setattr("isthmus.gateway.store.sqlite.connect", refuse)
        await readiness.step()
    assert await status(readiness) == "NOT_SERVING"
    assert await status(readiness, "") == "NOT_SERVING"
    await readiness.step()
    assert await status(readiness) == "SERVING"
    await store.transact(starting)
    saboteur.close()
    await store.close()


def refuse(path: Path, settings: object) -> NoReturn:
    """Fail as a disk does."""
    raise sqlite3.OperationalError(f"disk I/O error: {path} {settings}")


def starting(unit: UnitOfWork) -> None:
    """Start an operation."""
    start(unit, operation(1))


async def test_gateway_stays_unready_when_it_drains(tmp_path: Path) -> None:
    """The store still answers, and nobody is sent here any more."""
    store = SqliteStore(tmp_path / "isthmus.db")
    await store.open()
    readiness = Readiness(store, [SERVICE])
    await readiness.step()
    await readiness.drain()
    await readiness.step()
    assert await status(readiness) == "NOT_SERVING"
    await store.close()
