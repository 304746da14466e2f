"""Coroutines that run at once: a result, an error, or a task of the rest."""

import asyncio

import pytest

from isthmus.gateway.api.eager import run_now


async def test_result_is_there_at_once_when_nothing_waits() -> None:
    """No task is made for what is in memory."""

    async def inner() -> int:
        return 5

    async def outer() -> int:
        return await inner() + 1

    assert run_now(outer()) == 6


async def test_error_is_raised_at_once_when_nothing_waits() -> None:
    """It comes out where the coroutine was begun."""

    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        run_now(fail())


async def test_rest_becomes_a_task_when_it_waits() -> None:
    """What comes before the first wait has happened by then; the result is that of the task."""
    steps: list[str] = []
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    second: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def add() -> int:
        steps.append("begun")
        total = await first
        steps.append("first")
        await asyncio.sleep(0)
        return total + await second

    task = run_now(add())
    assert isinstance(task, asyncio.Task)
    assert steps == ["begun"]
    first.set_result(1)
    second.set_result(2)
    assert await task == 3
    assert steps == ["begun", "first"]


async def test_coroutine_gets_the_error_when_what_it_waits_for_fails() -> None:
    """It may handle it, and what it raises instead is the task's error."""
    waited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def translate() -> int:
        try:
            return await waited
        except LookupError as error:
            raise RuntimeError("translated") from error

    task = run_now(translate())
    assert isinstance(task, asyncio.Task)
    waited.set_exception(LookupError("no"))
    with pytest.raises(RuntimeError, match="translated"):
        await task


async def test_coroutine_is_cancelled_when_its_task_is() -> None:
    """It sees the cancellation at its wait, and what it waits for is cancelled too."""
    waited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def wait() -> int:
        try:
            return await waited
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = run_now(wait())
    assert isinstance(task, asyncio.Task)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
    assert waited.cancelled()
