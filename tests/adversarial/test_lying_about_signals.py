"""A gateway that lies about signals: handlers hear what their caller said, in its order, or fail."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.adversarial.deceived import Deceived, Payments, deceived

from isthmus.v1 import envelope_pb2, worker_service_pb2

SIGNALS = 3
Lie = Callable[[list[bytes], list[bytes]], list[bytes]]
"""Takes signals of this operation, and those of another one; returns what is shown."""


@pytest.fixture
async def world() -> AsyncIterator[Deceived]:
    """Two teams and a liar; nobody serves yet."""
    async with deceived(serving=False) as made:
        yield made


def flipped(part: str) -> Lie:
    """Return a lie that changes the last byte of a part of an envelope."""

    def lie(signals: list[bytes], _others: list[bytes]) -> list[bytes]:
        envelope = envelope_pb2.Envelope.FromString(signals[0])
        changed = bytearray(getattr(envelope, part))
        changed[-1] ^= 1
        setattr(envelope, part, bytes(changed))
        return [envelope.SerializeToString(), *signals[1:]]

    return lie


LIES: dict[str, Lie] = {
    "reordered": lambda signals, _: signals[::-1],
    "first dropped": lambda signals, _: signals[1:],
    "middle dropped": lambda signals, _: [signals[0], signals[2]],
    "of another operation": lambda signals, others: [others[0], *signals],
    "plaintext": lambda signals, _: [b"13", *signals],
    "header": flipped("header"),
    "body": flipped("body"),
    "signature": flipped("signature"),
}


async def gathering(world: Deceived, change: Lie) -> list[int]:
    """Send three signals, lie about them to the first attempt, and return what the operation gathered."""
    others: list[bytes] = []
    lied = asyncio.Event()

    def about(frame: worker_service_pb2.WorkResponse) -> None:
        for answer in frame.signals:
            if len(answer.signals) < SIGNALS:
                others.extend(answer.signals)
            elif not lied.is_set():
                shown = change(list(answer.signals), others)
                del answer.signals[:]
                answer.signals.extend(shown)
                lied.set()

    world.liar.about_work = about
    other = await world.payments.start_operation(Payments.gather, 1)
    handle = await world.payments.start_operation(Payments.gather, SIGNALS)
    await other.signal("add", 99)
    for number in range(1, SIGNALS + 1):
        await handle.signal("add", number)
    # Only now somebody serves: a read gets all three at once.
    await world.serve(world.owner, world.handler)
    assert await other.result() == [99]
    gathered = await handle.result()
    assert lied.is_set()
    world.handler.heard.remove(99)
    return gathered


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_handler_fails_when_signals_are_not_those_that_were_sent(world: Deceived, lie: Lie) -> None:
    """An attempt that is lied to fails before it hears anything wrong; the next one hears the truth."""
    assert await gathering(world, lie) == [1, 2, 3]
    assert world.handler.heard in ([1, 2, 3], [1, 1, 2, 3])


async def test_signal_is_heard_once_when_it_is_shown_twice(world: Deceived) -> None:
    """A repeated signal is a repetition, and nothing else."""
    assert await gathering(world, lambda signals, _: [signals[0], signals[0], *signals]) == [1, 2, 3]
