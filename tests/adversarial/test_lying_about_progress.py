"""A gateway that lies about progress gets its callers to raise, never to believe it."""

from collections.abc import AsyncIterator, Callable

import pytest
from tests.adversarial.deceived import Deceived, Payments, deceived

from isthmus.client import OperationHandle
from isthmus.client.errors import UnverifiedAnswerError
from isthmus.v1 import envelope_pb2, operation_pb2, operation_service_pb2

Response = operation_service_pb2.GetProgressResponse
Lie = Callable[[Deceived, Response], None]
LAST = 99


@pytest.fixture
async def world() -> AsyncIterator[Deceived]:
    """Two teams and a liar, still honest, who has seen progress of an operation that ended."""
    async with deceived() as made:
        made.handler.steps.put_nowait(1)
        first = await made.payments.start_operation(Payments.count, LAST)
        assert await anext(first.progress()) == 1
        made.handler.steps.put_nowait(LAST)
        assert await first.result() == LAST
        yield made


async def counting(world: Deceived, *steps: int) -> OperationHandle[int]:
    """Start an operation whose progress the client has seen up to these steps."""
    handle = await world.payments.start_operation(Payments.count, LAST)
    seen = handle.progress()
    for step in steps:
        world.handler.steps.put_nowait(step)
        assert await anext(seen) == step
    return handle


async def finish(world: Deceived, handle: OperationHandle[int]) -> None:
    """The operation itself is not affected."""
    world.liar.about_progress = None
    world.handler.steps.put_nowait(LAST)
    assert await handle.result() == LAST


def earlier(world: Deceived, response: Response) -> None:
    """Show progress that this very operation made before."""
    response.progress = world.liar.progress[-3]


def other_operation(world: Deceived, response: Response) -> None:
    """Show progress of another operation."""
    response.progress = world.liar.progress[0]


def other_answer(_world: Deceived, response: Response) -> None:
    """Answer for another operation."""
    response.operation_id = bytes(16)


def own_request(world: Deceived, response: Response) -> None:
    """Reflect the caller's own request."""
    response.progress = world.liar.requests[response.operation_id][0]


def result(world: Deceived, response: Response) -> None:
    """Show a result as progress."""
    response.progress = next(iter(world.liar.endings.values())).attested


def plaintext(_world: Deceived, response: Response) -> None:
    """Show plaintext."""
    response.progress = b"98"


def changed(name: str) -> Lie:
    """Return a lie that changes the last byte of a part of the envelope."""

    def lie(_world: Deceived, response: Response) -> None:
        envelope = envelope_pb2.Envelope.FromString(response.progress)
        part = bytearray(getattr(envelope, name))
        part[-1] ^= 1
        setattr(envelope, name, bytes(part))
        response.progress = envelope.SerializeToString()

    return lie


def spliced(world: Deceived, response: Response) -> None:
    """Put the body of an earlier message under the header of this one."""
    envelope = envelope_pb2.Envelope.FromString(response.progress)
    envelope.body = envelope_pb2.Envelope.FromString(world.liar.progress[-3]).body
    response.progress = envelope.SerializeToString()


LIES: dict[str, Lie] = {
    "earlier": earlier,
    "other_operation": other_operation,
    "other_answer": other_answer,
    "own_request": own_request,
    "result": result,
    "plaintext": plaintext,
    "header": changed("header"),
    "body": changed("body"),
    "signature": changed("signature"),
    "spliced": spliced,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_progress_is_refused_when_it_does_not_verify(world: Deceived, lie: Lie) -> None:
    """Of another operation, of another kind, changed, or older than what this handle has seen."""
    handle = await counting(world, 11, 12)
    world.liar.about_progress = lambda response: lie(world, response)
    with pytest.raises(UnverifiedAnswerError):
        await handle.progress_now()
    await finish(world, handle)


async def test_progress_is_refused_when_it_is_shown_as_news_again(world: Deceived) -> None:
    """A watcher that asks for what is newer is not fed the same message for ever."""
    handle = await counting(world, 11)
    watching = handle.progress()
    assert await anext(watching) == 11
    newest = world.liar.progress[-1]

    def repeat(response: Response) -> None:
        response.progress = newest

    world.liar.about_progress = repeat
    world.handler.steps.put_nowait(12)
    with pytest.raises(UnverifiedAnswerError):
        await anext(watching)
    await finish(world, handle)


async def test_result_is_what_the_handler_signed_when_the_gateway_says_that_it_ended(world: Deceived) -> None:
    """The gateway's word ends a watch, and nothing else."""
    handle = await counting(world, 11)

    def ended(response: Response) -> None:
        response.state = operation_pb2.OPERATION_STATE_SUCCEEDED

    world.liar.about_progress = ended
    assert [step async for step in handle.progress()] == [11]
    await finish(world, handle)
