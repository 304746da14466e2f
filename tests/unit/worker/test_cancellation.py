"""How a handler learns that it should stop."""

import asyncio
import threading

from isthmus.worker.cancellation import TaskCancellation


async def test_coroutine_wakes_when_its_task_is_canceled() -> None:
    """The wait returns, and the first reason stays."""
    cancellation = TaskCancellation()
    waiting = asyncio.create_task(cancellation.wait_until_cancelled())
    await asyncio.sleep(0)
    assert not cancellation.is_cancelled()
    cancellation.cancel("first")
    cancellation.cancel("second")
    await waiting
    await cancellation.wait_until_cancelled()
    assert cancellation.cancellation_reason() == "first"


def test_thread_wakes_when_its_task_is_canceled() -> None:
    """A wait in a thread returns True."""
    cancellation = TaskCancellation()
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(cancellation.wait_until_cancelled_sync(10)))
    thread.start()
    cancellation.cancel("now")
    thread.join()
    assert answers == [True]
    assert cancellation.wait_until_cancelled_sync(0)


def test_wait_ends_without_a_cancel_when_its_time_is_over() -> None:
    """The timeout is the handler's own."""
    assert not TaskCancellation().wait_until_cancelled_sync(0)


def test_cancel_is_harmless_when_a_waiting_loop_is_closed() -> None:
    """A handler in a thread may have run a loop of its own, and closed it while it waited."""
    cancellation = TaskCancellation()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(cancellation.wait_until_cancelled())
    loop.run_until_complete(asyncio.sleep(0))
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    cancellation.cancel("now")
    assert cancellation.is_cancelled()
