"""Readiness follows the store."""

from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from isthmus.gateway.core.errors import UnavailableError
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
