"""Coroutines that run at once, as far as they get without waiting.

Nearly every call finds what it needs in memory, and a task for each of them would cost more than what it
does. (From Python 3.12 on asyncio has this as ``eager_task_factory``.)
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


def run_now(coroutine: Coroutine[Any, Any, T]) -> "T | asyncio.Task[T]":
    """Run a coroutine; return its result, or a task of the rest of it if it has to wait.

    Raises:
        Exception: what the coroutine raises before it waits.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    return asyncio.get_running_loop().create_task(_rest(coroutine, awaited))


async def _rest(coroutine: Coroutine[Any, Any, T], awaited: object) -> T:
    return await _go_on(coroutine, awaited)


@types.coroutine
def _go_on(coroutine: Coroutine[Any, Any, T], awaited: object) -> Generator[Any, Any, T]:
    """Hand to the task what the coroutine waits for, and to the coroutine what comes of it."""
    while True:
        try:
            sent = yield awaited
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for the coroutine
            go_on = partial(coroutine.throw, error)
        else:
            go_on = partial(coroutine.send, sent)
        try:
            awaited = go_on()
        except StopIteration as end:
            result: T = end.value
            return result
