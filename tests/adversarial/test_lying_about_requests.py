"""A gateway that attaches callers to requests that they did not make: they notice, from whichever process."""

from collections.abc import AsyncIterator

import pytest
from tests.adversarial.deceived import ENDPOINT, Deceived, Payments, deceived

from isthmus.client.errors import UnverifiedAnswerError
from isthmus.v1 import envelope_pb2, operation_pb2


@pytest.fixture
async def world() -> AsyncIterator[Deceived]:
    """Two teams and a liar, still honest."""
    async with deceived() as made:
        assert await made.payments.execute_operation(Payments.double, 1000) == 2000
        yield made


async def test_attach_is_refused_when_the_request_is_a_strangers(world: Deceived) -> None:
    """A start that finds somebody else's request under its id believes neither request nor result."""
    mallory = await world.connect(world.mallory)
    strange = await mallory.create_nexus_client(ENDPOINT, Payments).start_operation(Payments.double, 99)
    await strange.result()
    theirs = list(world.liar.requests.values())[-1][0]
    assert await is_refused_when_attached_to(world, theirs)


async def test_attach_is_refused_when_the_request_is_another_of_ones_own(world: Deceived) -> None:
    """Nor another request of the same namespace, however genuine."""
    assert await is_refused_when_attached_to(world, next(iter(world.liar.requests.values()))[0])


async def is_refused_when_attached_to(world: Deceived, request: bytes) -> bool:
    """Whether a start that is answered with another request, and that one's ending, refuses both."""
    sealed = envelope_pb2.Envelope.FromString(request)
    proofs = list(world.liar.proofs.values())
    ending = list(world.liar.endings.values())[-1]

    def about(status: operation_pb2.OperationStatus) -> None:
        status.attached = True
        status.request.header = sealed.header
        status.request.signature = sealed.signature
        status.request.body_digest = proofs[0].body_digest if proofs else bytes(32)
        status.ending.CopyFrom(ending)

    world.liar.about_status = about
    with pytest.raises(UnverifiedAnswerError):
        await world.payments.execute_operation(Payments.double, 7, id="order-7")
    return True


async def test_handle_is_refused_when_it_is_shown_another_request(world: Deceived) -> None:
    """A handle made from an id alone is as strict as the one that the start returned."""
    handle = await world.payments.start_operation(Payments.double, 5)
    assert await handle.result() == 10
    shown = await world.payments.start_operation(Payments.double, 6)
    assert await shown.result() == 12
    again = world.client.get_operation_handle(handle.operation_id, result_type=int)
    assert await again.result() == 10
    proof = next(iter(world.liar.proofs.values()))
    last = list(world.liar.endings.values())[-1]

    def about(status: operation_pb2.OperationStatus) -> None:
        status.request.CopyFrom(proof)
        status.ending.CopyFrom(last)

    world.liar.about_status = about
    with pytest.raises(UnverifiedAnswerError):
        await world.client.get_operation_handle(shown.operation_id, result_type=int).result()
