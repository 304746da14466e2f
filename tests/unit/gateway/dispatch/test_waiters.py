"""Waiting for outcomes: woken, bounded, and nothing left behind."""

import asyncio

import pytest
from tests.contract.samples import key, operation, succeeded

from isthmus.gateway.core.errors import ExhaustedError
from isthmus.gateway.dispatch.waiters import WaiterLimits, Waiters
from isthmus.gateway.ports import OperationClosed

CLOSED = OperationClosed(operation=succeeded(operation(1)), outcome=b"sealed")


async def test_all_waiters_wake_when_operation_closes() -> None:
    """Everybody who waits for it, and nobody else."""
    waiters = Waiters()
    first, second, other = (waiters.register(key(number), "data/etl") for number in (1, 1, 2))
    waiters.on_signals([CLOSED])
    assert await first.closed(60) == CLOSED
    assert await second.closed(60) == CLOSED
    assert await other.closed(0) is None


async def test_waiter_gets_ending_when_it_came_before_the_wait() -> None:
    """Registered first, then looked: an ending in between is not lost."""
    waiters = Waiters()
    waiter = waiters.register(key(1), "data/etl")
    waiters.on_signals([CLOSED])
    assert await waiter.closed(0) == CLOSED


async def test_wait_ends_when_its_time_is_over() -> None:
    """No outcome within the time: None."""
    assert await Waiters().register(key(1), "data/etl").closed(0.001) is None


async def test_cancellation_passes_when_waiting_task_is_canceled() -> None:
    """Only the timer turns a cancelled future into an answer."""
    waiter = Waiters().register(key(1), "data/etl")
    waiting = asyncio.create_task(waiter.closed(60))
    await asyncio.wait({waiting}, timeout=0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_memory_is_free_when_waiters_are_removed() -> None:
    """Nothing is kept for operations that nobody waits for."""
    waiters = Waiters()
    registered = [waiters.register(key(number), "data/etl") for number in range(3)]
    waiters.on_signals([CLOSED])
    for waiter in registered:
        waiters.remove(waiter)
    assert len(waiters) == 0
    assert not waiters._waiting
    assert not waiters._per_principal


@pytest.mark.parametrize(
    "limits", [WaiterLimits(most=2), WaiterLimits(most_per_principal=2)], ids=["process", "principal"]
)
async def test_waiting_is_refused_when_too_many_wait(limits: WaiterLimits) -> None:
    """Bounded for all and for each; another principal is not punished for the one."""
    waiters = Waiters(limits)
    registered = [waiters.register(key(number), "data/etl") for number in range(2)]
    with pytest.raises(ExhaustedError) as refused:
        waiters.register(key(3), "data/etl")
    assert refused.value.retry_after_seconds
    waiters.remove(registered[0])
    waiters.register(key(3), "data/etl")
