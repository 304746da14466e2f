"""A gateway that lies to workers gets a rejection: no handler runs for what its caller did not ask."""

import asyncio
from collections.abc import AsyncIterator, Callable

import nexusrpc
import pytest
from tests.adversarial.deceived import CALLER, MALLORY, Deceived, Payments, PaymentsHandler, deceived

from isthmus.client.errors import AttestedOperationError
from isthmus.v1 import envelope_pb2, worker_service_pb2
from isthmus.wire.envelope import parse_envelope

Lie = Callable[[Deceived, worker_service_pb2.Task], None]


@pytest.fixture
async def world() -> AsyncIterator[Deceived]:
    """Two teams and a liar; nobody serves yet."""
    async with deceived(serving=False) as made:
        yield made


def sealed(change: Callable[[Deceived, envelope_pb2.Envelope], None]) -> Lie:
    """Return a lie that changes the sealed request."""

    def lie(world: Deceived, task: worker_service_pb2.Task) -> None:
        envelope = envelope_pb2.Envelope.FromString(task.request)
        change(world, envelope)
        task.request = envelope.SerializeToString()

    return lie


def flipped(name: str) -> Lie:
    """Return a lie that changes the last byte of a part of the envelope."""

    def change(_world: Deceived, envelope: envelope_pb2.Envelope) -> None:
        part = bytearray(getattr(envelope, name))
        part[-1] ^= 1
        setattr(envelope, name, bytes(part))

    return sealed(change)


def resigned(world: Deceived, envelope: envelope_pb2.Envelope) -> None:
    """Sign it with the gateway's own key."""
    envelope.signature = world.liar.key.sign(envelope.header + envelope.body)


def own_words(_world: Deceived, task: worker_service_pb2.Task) -> None:
    """Deliver plaintext."""
    task.request = b"13"


def other_caller(_world: Deceived, task: worker_service_pb2.Task) -> None:
    """Say that somebody else called."""
    task.caller_namespace = MALLORY


def unknown_caller(_world: Deceived, task: worker_service_pb2.Task) -> None:
    """Say that somebody called whom nobody knows."""
    task.caller_namespace = "nobody"


def other_operation(_world: Deceived, task: worker_service_pb2.Task) -> None:
    """Say that it is another operation."""
    task.operation_id = bytes(16)


LIES: dict[str, Lie] = {
    "header": flipped("header"),
    "body": flipped("body"),
    "signature": flipped("signature"),
    "resigned": sealed(resigned),
    "plaintext": own_words,
    "other_caller": other_caller,
    "unknown_caller": unknown_caller,
    "other_operation": other_operation,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_handler_does_not_run_when_its_task_does_not_verify(world: Deceived, lie: Lie) -> None:
    """Every changed delivery is rejected; the first true one runs, once, and its result is right."""
    lies_left = 3
    lied = asyncio.Event()

    def about(frame: worker_service_pb2.WorkResponse) -> None:
        nonlocal lies_left
        for task in frame.tasks:
            if lies_left:
                lies_left -= 1
                # A worker answers under the name that the task has; the honest gateway knows the true one.
                delivered = worker_service_pb2.Task.FromString(task.SerializeToString())
                lie(world, delivered)
                frame.tasks.append(delivered)
                if (delivered.caller_namespace, delivered.operation_id) == (
                    task.caller_namespace,
                    task.operation_id,
                ):
                    frame.tasks.remove(task)
                lied.set()

    world.liar.about_work = about
    await world.serve(world.owner, world.handler)
    assert await world.payments.execute_operation(Payments.double, 21) == 42
    assert lied.is_set()
    assert world.handler.calls == [21]


async def test_handler_does_not_run_when_the_request_is_for_another_namespace(world: Deceived) -> None:
    """A request that is delivered to the wrong namespace stays closed to it, and waits for the right one."""
    strange = PaymentsHandler()
    await world.honest.endpoint("elsewhere", namespace=MALLORY, task_queue="payments-queue", allow=[CALLER])
    handle = await world.payments.start_operation(Payments.double, 21)
    wanted = next(iter(world.liar.requests))
    delivered = asyncio.Event()

    def about(frame: worker_service_pb2.WorkResponse) -> None:
        for task in frame.tasks:
            if not delivered.is_set():
                task.request = world.liar.requests[wanted][0]
                task.operation_id = wanted
                delivered.set()

    world.liar.about_work = about
    await world.serve(world.mallory, strange)
    bait = await world.client.create_nexus_client("elsewhere", Payments).start_operation(Payments.double, 5)
    await delivered.wait()
    world.liar.about_work = None
    await world.serve(world.owner, world.handler)
    assert await handle.result() == 42
    assert strange.calls in ([], [5])
    await bait.cancel()


async def test_handler_runs_once_when_its_task_is_delivered_twice(world: Deceived) -> None:
    """The same request again, in one frame and in the next, is one operation with one result."""
    world.liar.about_work = lambda frame: frame.tasks.extend([*frame.tasks, *frame.tasks])
    await world.serve(world.owner, world.handler)
    assert await world.payments.execute_operation(Payments.double, 21) == 42
    assert world.handler.calls == [21]


async def test_request_is_refused_when_another_one_was_handled_under_its_id(world: Deceived) -> None:
    """A caller that repeats a start seals it anew; only the request that came first is ever handled."""
    first = await world.payments.start_operation(Payments.double, 21, id="order-1", fingerprint=False)
    again = await world.payments.start_operation(Payments.double, 34, id="order-1", fingerprint=False)
    assert first.operation_id == again.operation_id
    [(number, (early, late))] = world.liar.requests.items()
    assert parse_envelope(early).digest != parse_envelope(late).digest
    tasks: list[worker_service_pb2.Task] = []

    def about(frame: worker_service_pb2.WorkResponse) -> None:
        for task in tuple(frame.tasks):
            if task.operation_id == number and not tasks:
                tasks.append(task)
            elif tasks:
                # With every later task comes the other request again.
                other = worker_service_pb2.Task.FromString(tasks[0].SerializeToString())
                other.request = late
                other.attempt += 1
                frame.tasks.append(other)

    world.liar.about_work = about
    await world.serve(world.owner, world.handler)
    assert await first.result() == 42
    for amount in range(5):
        assert await world.payments.execute_operation(Payments.double, amount) == 2 * amount
    assert await again.result() == 42
    assert 34 not in world.handler.calls


FORGED_CANCELS: dict[str, Callable[[Deceived, bytes], bytes]] = {
    "garbage": lambda _world, _number: b"cancel",
    "the_request_itself": lambda world, number: world.liar.requests[number][0],
    "of_another_operation": lambda world, _number: world.liar.cancels[0],
}


@pytest.mark.parametrize("forge", FORGED_CANCELS.values(), ids=FORGED_CANCELS.keys())
async def test_handler_runs_on_when_its_cancel_is_forged(
    world: Deceived, forge: Callable[[Deceived, bytes], bytes]
) -> None:
    """An interrupt that claims a cancel which the caller did not sign for this operation stops nothing."""
    other = await world.payments.start_operation(Payments.double, 1)
    await other.cancel()
    handle = await world.payments.start_operation(Payments.hang, 8)
    number = list(world.liar.requests)[-1]
    told = asyncio.Event()

    def about(frame: worker_service_pb2.WorkResponse) -> None:
        interrupts = [
            worker_service_pb2.TaskInterrupt(
                task=worker_service_pb2.TaskRef(
                    caller_namespace=CALLER,
                    operation_id=number,
                    attempt=1,
                    kind=worker_service_pb2.TASK_KIND_START,
                ),
                cancel=forge(world, number),
            )
        ]
        frame.interrupts.extend(interrupts)
        if world.handler.hanging.is_set():
            told.set()

    world.liar.about_work = about
    await world.serve(world.owner, world.handler)
    await world.handler.hanging.wait()
    # Another operation brings another frame, and with it the forged cancel of the one that runs.
    assert await world.payments.execute_operation(Payments.double, 2) == 4
    await told.wait()
    world.handler.release.set()
    assert await handle.result() == 8


async def test_handler_stops_when_its_cancel_is_genuine(world: Deceived) -> None:
    """The counterpart: the caller's own cancel stops it, so the forged ones were not simply ignored."""
    await world.serve(world.owner, world.handler)
    handle = await world.payments.start_operation(Payments.hang, 8)
    await world.handler.hanging.wait()
    await handle.cancel()
    with pytest.raises(AttestedOperationError) as caught:
        await handle.result()
    assert caught.value.state is nexusrpc.OperationErrorState.CANCELED
