"""Starts one by one, each with its own answer: what came of it, or why nothing did."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

AT_ONCE: Final = 64
"""Starts of one batch that are sealed and under way at the same time; the others wait, and are not sealed."""

InputT = TypeVar("InputT")
T = TypeVar("T")


def start_each(start: Callable[[InputT], T], inputs: Sequence[InputT]) -> list[T | Exception]:
    """Start one after the other; return what came of each, in their order."""
    answers: list[T | Exception] = []
    for one in inputs:
        try:
            answers.append(start(one))
        except Exception as error:  # noqa: BLE001 - whatever it is becomes the answer to this start
            answers.append(error)
    return answers


async def start_each_async(
    start: Callable[[InputT], Awaitable[T]], inputs: Sequence[InputT]
) -> list[T | Exception]:
    """Start so many at a time that whoever else runs here gets a turn; return what came of each, in order."""
    answers: dict[int, T | Exception] = {}
    left = iter(enumerate(inputs))

    async def one_after_the_other() -> None:
        for number, one in left:
            try:
                answers[number] = await start(one)
            except Exception as error:  # noqa: BLE001 - whatever it is becomes the answer to this start
                answers[number] = error

    await asyncio.gather(*(one_after_the_other() for _ in range(min(AT_ONCE, len(inputs)))))
    return [answers[number] for number in range(len(inputs))]
