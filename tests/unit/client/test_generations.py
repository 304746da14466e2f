"""Generations: what permits the next one, what does not, and who agrees on which."""

import asyncio
from collections.abc import Callable

import grpc
import nexusrpc
import pytest
from tests.unit.client.conftest import Charge, Payments, Receipt, Running
from tests.unit.client.fake_gateway import FakeGateway, RefusalError

from isthmus.client import Client, SyncClient
from isthmus.client.errors import (
    AttestedOperationError,
    ConfigurationError,
    ConflictError,
    OperationExpiredError,
    UnprovenOutcomeError,
    UnverifiedAnswerError,
)
from isthmus.client.request import StartKeywords
from isthmus.v1 import operation_pb2
from isthmus.wire.names import parse_operation_id

ORDER = Charge(order="42", cents=300)
RESTART: StartKeywords = {"id": "order-42", "reuse_policy": "restart_if_failed"}
FAILED = nexusrpc.OperationErrorState.FAILED
CANCELED = nexusrpc.OperationErrorState.CANCELED


def failing(times: int, state: nexusrpc.OperationErrorState = FAILED) -> Callable[[object], object]:
    """Return a handler that fails so often, then succeeds."""
    runs: list[object] = []

    def handler(value: object) -> object:
        runs.append(value)
        if len(runs) <= times:
            raise nexusrpc.OperationError("no funds", state=state)
        return {"order": "42", "paid": len(runs)}

    return handler


async def test_each_start_adds_one_generation_when_the_newest_failed(
    client: Client, running: Running
) -> None:
    """The handle says which one it is; the first success ends it."""
    running.gateway.handlers["fail"] = failing(2)
    payments = client.create_nexus_client("payments", Payments)
    for generation in (1, 2):
        handle = await payments.start_operation(Payments.fail, ORDER, **RESTART)
        assert handle.generation == generation
        with pytest.raises(AttestedOperationError):
            await handle.result()
    for _ in range(2):
        handle = await payments.start_operation(Payments.fail, ORDER, **RESTART)
        assert handle.generation == 3
        assert await handle.result() == Receipt(order="42", paid=3)
    assert len(running.gateway.operations) == 3


def test_generation_is_known_when_client_is_sync(sync_client: SyncClient, running: Running) -> None:
    """The same without an event loop; a handle of an older generation is had by its number."""
    running.gateway.handlers["fail"] = failing(1)
    payments = sync_client.create_nexus_client("payments", Payments)
    with pytest.raises(AttestedOperationError):
        payments.execute_operation(Payments.fail, ORDER, **RESTART)
    second = payments.start_operation(Payments.fail, ORDER, **RESTART)
    assert second.generation == 2
    by_number = payments.get_operation_handle(Payments.fail, id="order-42", generation=2)
    assert (by_number.operation_id, by_number.generation) == (second.operation_id, 2)
    first = payments.get_operation_handle(Payments.fail, id="order-42")
    assert first.generation == 1
    assert sync_client.get_operation_handle(second.operation_id).generation is None
    with pytest.raises(ConfigurationError, match="from 1"):
        payments.get_operation_handle(Payments.fail, id="order-42", generation=0)


async def test_start_without_id_has_no_generation(client: Client) -> None:
    """Nothing can come after it."""
    payments = client.create_nexus_client("payments", Payments)
    assert (await payments.start_operation(Payments.charge, ORDER)).generation is None


async def test_restarters_agree_when_they_restart_at_the_same_time(client: Client, running: Running) -> None:
    """One new generation for all of them; those that only attach say which."""
    payments = client.create_nexus_client("payments", Payments)
    first = await payments.start_operation(Payments.hang, ORDER, **RESTART)
    running.gateway.complete(
        parse_operation_id(first.operation_id), nexusrpc.OperationError("no funds", state=FAILED)
    )
    handles = await asyncio.gather(
        *(payments.start_operation(Payments.hang, ORDER, **RESTART) for _ in range(8))
    )
    assert {handle.generation for handle in handles} == {2}
    assert len({handle.operation_id for handle in handles}) == 1
    assert len(running.gateway.operations) == 2


async def test_nothing_restarts_when_the_operation_fails_while_it_is_awaited(
    client: Client, running: Running
) -> None:
    """It ran when it was asked for: its failure is the answer, not a reason to start another one."""
    payments = client.create_nexus_client("payments", Payments)
    first = await payments.start_operation(Payments.hang, ORDER, id="order-42")
    second = asyncio.create_task(payments.execute_operation(Payments.hang, ORDER, **RESTART))
    await asyncio.to_thread(running.gateway.await_change, lambda: running.gateway.waits > 0)
    running.gateway.complete(
        parse_operation_id(first.operation_id), nexusrpc.OperationError("no funds", state=FAILED)
    )
    with pytest.raises(AttestedOperationError, match="no funds"):
        await second
    assert len(running.gateway.operations) == 1


@pytest.mark.parametrize(
    "kind",
    [
        operation_pb2.STATEMENT_KIND_TERMINATED,
        operation_pb2.STATEMENT_KIND_EXHAUSTED,
        operation_pb2.STATEMENT_KIND_DENIED,
        operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_CLOSE,
        operation_pb2.STATEMENT_KIND_CANCELED,
    ],
    ids=operation_pb2.StatementKind.Name,
)
async def test_nothing_restarts_when_the_ending_is_not_attested(
    client: Client, running: Running, kind: "operation_pb2.StatementKind.ValueType"
) -> None:
    """Whatever the gateway states."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.hang, ORDER, **RESTART)
    running.gateway.state(parse_operation_id(handle.operation_id), kind)
    again = await payments.start_operation(Payments.hang, ORDER, **RESTART)
    assert again.generation == 1
    with pytest.raises(UnprovenOutcomeError):
        await again.result()
    assert len(running.gateway.operations) == 1


async def test_nothing_restarts_when_the_handler_signed_a_cancel(client: Client, running: Running) -> None:
    """Canceled is no failure."""
    running.gateway.handlers["fail"] = failing(1, CANCELED)
    payments = client.create_nexus_client("payments", Payments)
    for _ in range(2):
        with pytest.raises(AttestedOperationError):
            await payments.execute_operation(Payments.fail, ORDER, **RESTART)
    assert len(running.gateway.operations) == 1


async def test_nothing_restarts_when_the_gateway_serves_the_failure_of_another_operation(
    client: Client, running: Running
) -> None:
    """A failure counts for the very request that it answers, and for no other generation."""
    gateway = running.gateway
    payments = client.create_nexus_client("payments", Payments)
    first = await payments.start_operation(Payments.hang, ORDER, **RESTART)
    number = parse_operation_id(first.operation_id)
    gateway.complete(number, nexusrpc.OperationError("no funds", state=FAILED))
    await payments.start_operation(Payments.hang, ORDER, **RESTART)
    failure = gateway.operations[number].ending
    assert failure is not None

    def replay(status: operation_pb2.OperationStatus) -> None:
        if status.operation_id != number:
            status.ending.CopyFrom(failure)

    gateway.tamper = replay
    with pytest.raises(UnverifiedAnswerError):
        await payments.start_operation(Payments.hang, ORDER, **RESTART)
    assert len(gateway.operations) == 2


async def test_input_is_compared_when_a_later_generation_is_found(client: Client, running: Running) -> None:
    """Every generation under an id has the same input."""
    running.gateway.handlers["fail"] = failing(1)
    payments = client.create_nexus_client("payments", Payments)
    for _ in range(2):
        await payments.start_operation(Payments.fail, ORDER, **RESTART)
    with pytest.raises(ConflictError):
        await payments.start_operation(Payments.fail, Charge(order="42", cents=1), **RESTART)


async def test_later_generation_is_found_when_earlier_ones_expired(client: Client, running: Running) -> None:
    """This namespace signed it, so it had the proof; it is taken up, or goes on to the next one."""
    gateway = running.gateway
    gateway.handlers["fail"] = failing(3)
    payments = client.create_nexus_client("payments", Payments)
    handles = [await payments.start_operation(Payments.fail, ORDER, **RESTART) for _ in range(3)]
    gateway.expired |= {parse_operation_id(handle.operation_id) for handle in handles[:2]}
    fourth = await payments.start_operation(Payments.fail, ORDER, **RESTART)
    assert fourth.generation == 4
    assert len(gateway.operations) == 4


async def test_nothing_starts_when_the_newest_generation_expired(client: Client, running: Running) -> None:
    """How it ended cannot be proven any more."""
    gateway = running.gateway
    gateway.handlers["fail"] = failing(2)
    payments = client.create_nexus_client("payments", Payments)
    for _ in range(2):
        handle = await payments.start_operation(Payments.fail, ORDER, **RESTART)
        gateway.expired.add(parse_operation_id(handle.operation_id))
        with pytest.raises(OperationExpiredError):
            await payments.start_operation(Payments.fail, ORDER, **RESTART)
        gateway.expired.clear()
    assert len(gateway.operations) == 2


async def test_start_ends_when_the_gateway_says_that_everything_expired(
    client: Client, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could say so for ever; nobody believes it for long."""

    def refuse(_gateway: FakeGateway, _operation_id: bytes) -> None:
        raise RefusalError(grpc.StatusCode.FAILED_PRECONDITION, "OPERATION_EXPIRED")

    monkeypatch.setattr(type(running.gateway), "_refuse_expired", refuse)
    payments = client.create_nexus_client("payments", Payments)
    with pytest.raises(OperationExpiredError):
        await payments.start_operation(Payments.charge, ORDER, **RESTART)
