"""Many starts at once, through a gateway in memory: each has its own answer."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from tests.unit.client.conftest import Charge, Payments, Receipt, Running, connect, connect_sync
from tests.unit.client.fake_gateway import RefusalError

from isthmus.client import (
    Client,
    ClientOutbound,
    Interceptor,
    OperationHandle,
    Start,
    StartInput,
    SyncClient,
    SyncClientOutbound,
    SyncOperationHandle,
    lockstep,
)
from isthmus.client.errors import (
    ConfigurationError,
    ConflictError,
    DeadlineExceededError,
    PermissionDeniedError,
    UnverifiedAnswerError,
)
from isthmus.client.known_operation import KnownOperation
from isthmus.payload.errors import PayloadConversionError
from isthmus.transport.errors import GatewayInternalError
from isthmus.v1 import operation_pb2
from isthmus.wire import limits
from isthmus.wire.envelope import parse_envelope


def orders(count: int, first: int = 0) -> list[Start]:
    """Return starts of different operations."""
    return [
        Start(Payments.charge, Charge(order=str(number), cents=number), id=f"order-{number}")
        for number in range(first, first + count)
    ]


def results(answers: "list[SyncOperationHandle[Any] | Exception]") -> list[Receipt]:
    """Return what came out of operations, all of which were started."""
    return [handle.result() for handle in answers if isinstance(handle, SyncOperationHandle)]


def receipts(count: int) -> list[Receipt]:
    """Return what comes out of ``orders``."""
    return [Receipt(order=str(number), paid=number) for number in range(count)]


async def test_every_start_has_its_handle_when_many_are_started(client: Client, running: Running) -> None:
    """In their order, and in far fewer frames than starts."""
    payments = client.create_nexus_client("payments", Payments)
    answers = await payments.start_operations(orders(100))
    handles = [handle for handle in answers if isinstance(handle, OperationHandle)]
    assert [await handle.result() for handle in handles] == receipts(100)
    assert len(running.gateway.starts) == 100
    assert await payments.start_operations([]) == []


def test_starts_share_calls_when_client_is_sync(sync_client: SyncClient, running: Running) -> None:
    """As many as one call takes."""
    payments = sync_client.create_nexus_client("payments", Payments)
    assert results(payments.start_operations(orders(150))) == receipts(150)
    assert running.gateway.batches == [128, 22]
    assert payments.start_operations([]) == []


async def test_refused_start_holds_up_no_other(client: Client, running: Running) -> None:
    """Its place has the reason; whatever cannot be sent at all is refused in the same way."""
    payments = client.create_nexus_client("payments", Payments)
    await payments.start_operation(Payments.charge, Charge(order="x", cents=1), id="order-1")
    running.gateway.refusals.append(RefusalError(grpc.StatusCode.PERMISSION_DENIED, "DENIED"))
    refused, conflict, unsendable, *started = await payments.start_operations(
        [
            Start(Payments.charge, Charge(order="0", cents=0), id="order-0"),
            Start(Payments.charge, Charge(order="1", cents=2), id="order-1"),
            Start("charge", object()),
            *orders(3, first=2),
        ]
    )
    assert isinstance(refused, PermissionDeniedError)
    assert isinstance(conflict, ConflictError)
    assert isinstance(unsendable, PayloadConversionError)
    assert all(isinstance(handle, OperationHandle) for handle in started)


def test_refused_start_holds_up_no_other_when_client_is_sync(
    sync_client: SyncClient, running: Running
) -> None:
    """The same answers in one call."""
    payments = sync_client.create_nexus_client("payments", Payments)
    payments.start_operation(Payments.charge, Charge(order="x", cents=1), id="order-1")
    running.gateway.refusals.append(RefusalError(grpc.StatusCode.PERMISSION_DENIED, "DENIED"))
    refused, conflict, unsendable, *started = payments.start_operations(
        [
            Start(Payments.charge, Charge(order="0", cents=0), id="order-0"),
            Start(Payments.charge, Charge(order="1", cents=2), id="order-1"),
            Start("charge", object()),
            *orders(3, first=2),
        ]
    )
    assert isinstance(refused, PermissionDeniedError)
    assert isinstance(conflict, ConflictError)
    assert isinstance(unsendable, PayloadConversionError)
    assert len(results(started)) == 3
    assert running.gateway.batches == [5]


def test_same_bytes_are_sent_again_when_an_answer_is_lost(sync_client: SyncClient, running: Running) -> None:
    """Of the whole call, of one start that has to wait, and of those that the answer had no room for."""
    gateway = running.gateway
    payments = sync_client.create_nexus_client("payments", Payments)
    gateway.broken_answers = 1
    gateway.room = 2
    gateway.refusals.append(RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", 1))
    assert results(payments.start_operations(orders(5))) == receipts(5)
    sent = Counter(gateway.starts)
    assert len(sent) == len(gateway.operations) == 5
    assert {parse_envelope(envelope).header.operation_id for envelope in sent} == set(gateway.operations)
    # All five were lost; then two of five have an answer, two of three, and the last one.
    assert gateway.batches == [5, 5, 3, 1]


def test_starts_go_one_by_one_when_gateway_knows_no_batches(
    sync_client: SyncClient, running: Running
) -> None:
    """An older gateway: no start is lost."""
    running.gateway.room = None
    payments = sync_client.create_nexus_client("payments", Payments)
    assert results(payments.start_operations(orders(3))) == receipts(3)
    assert running.gateway.batches == [3]


def test_start_is_given_up_when_its_time_is_over(
    sync_client: SyncClient, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that had an answer keep it."""
    monkeypatch.setattr("isthmus.client.starting.START_TIMEOUT_SECONDS", 0.5)
    running.gateway.refusals.append(RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", 60_000))
    payments = sync_client.create_nexus_client("payments", Payments)
    late, *started = payments.start_operations(orders(3))
    assert isinstance(late, DeadlineExceededError)
    assert "RATE_LIMITED" in str(late)
    assert len(results(started)) == 2


def test_start_fails_when_it_has_no_answer(sync_client: SyncClient, running: Running) -> None:
    """A gateway that answers none of them would keep a client asking for ever."""
    running.gateway.room = 0
    payments = sync_client.create_nexus_client("payments", Payments)
    answers = payments.start_operations(orders(2))
    assert [type(answer) for answer in answers] == [GatewayInternalError] * 2


def test_answer_about_another_operation_is_refused(sync_client: SyncClient, running: Running) -> None:
    """Each answer must be about its own start; the honest ones are believed."""
    gateway = running.gateway

    def swap(status: operation_pb2.OperationStatus) -> None:
        if len(gateway.operations) == 2:
            status.operation_id = next(iter(gateway.operations))

    gateway.tamper = swap
    payments = sync_client.create_nexus_client("payments", Payments)
    first, swapped, third = payments.start_operations(orders(3))
    assert isinstance(swapped, UnverifiedAnswerError)
    assert len(results([first, third])) == 2


async def test_nothing_is_started_when_an_option_makes_no_sense(client: Client, running: Running) -> None:
    """A mistake of the program, not of one start."""
    payments = client.create_nexus_client("payments", Payments)
    with pytest.raises(ConfigurationError, match="no operation"):
        await payments.start_operations([*orders(1), Start("nonsense")])
    assert not running.gateway.starts


@pytest.mark.parametrize(("most_bytes", "sizes"), [(1, [1, 1, 1]), (1 << 20, [3])])
def test_call_stays_below_its_size_when_starts_are_large(
    sync_client: SyncClient,
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    most_bytes: int,
    sizes: list[int],
) -> None:
    """One that is larger alone goes alone."""
    monkeypatch.setattr("isthmus.client.lockstep.MOST_BYTES", most_bytes)
    payments = sync_client.create_nexus_client("payments", Payments)
    assert results(payments.start_operations(orders(3))) == receipts(3)
    assert running.gateway.batches == sizes


def test_call_fits_when_a_gateway_takes_the_smallest_frames() -> None:
    """A gateway may be told to take no more than one envelope at a time."""
    assert lockstep.MOST_BYTES < limits.MAX_ENVELOPE_BYTES


class AllButSecond(Interceptor):
    """Refuses one start, and knows nothing of many."""

    def intercept_client(self, next: ClientOutbound) -> ClientOutbound:  # noqa: A002 - as in the class
        """Refuse it to the async client."""

        class Outbound(ClientOutbound):
            async def start_operation(self, input: StartInput) -> KnownOperation:  # noqa: A002
                _refuse_second(input)
                return await super().start_operation(input)

        return Outbound(next)

    def intercept_sync_client(self, next: SyncClientOutbound) -> SyncClientOutbound:  # noqa: A002
        """Refuse it to the sync client."""

        class Outbound(SyncClientOutbound):
            def start_operation(self, input: StartInput) -> KnownOperation:  # noqa: A002
                _refuse_second(input)
                return super().start_operation(input)

        return Outbound(next)


def _refuse_second(start: StartInput) -> None:
    if start.options.id == "order-1":
        raise ConfigurationError("not this one")


async def test_interceptor_sees_each_start_when_it_knows_nothing_of_many(running: Running) -> None:
    """What it refuses of single starts cannot be had by starting many."""
    gateway = running.gateway
    async with await connect(running, AllButSecond()) as client:
        answers = await client.create_nexus_client("payments", Payments).start_operations(orders(3))
    assert [isinstance(answer, ConfigurationError) for answer in answers] == [False, True, False]
    assert len(gateway.starts) == 2


def test_interceptor_sees_each_start_when_client_is_sync(running: Running) -> None:
    """They cost a call each, and nothing else."""
    gateway = running.gateway
    with connect_sync(running, AllButSecond(), Interceptor()) as client:
        answers = client.create_nexus_client("payments", Payments).start_operations(orders(3))
    assert [isinstance(answer, ConfigurationError) for answer in answers] == [False, True, False]
    assert len(gateway.starts) == 2


async def test_batch_passes_through_interceptors(running: Running) -> None:
    """As one call, which may change what is started."""

    class OnlyFirst(ClientOutbound):
        async def start_operations(self, inputs: Sequence[StartInput]) -> list[KnownOperation | Exception]:
            return await super().start_operations(inputs[:1])

    class Short(Interceptor):
        def intercept_client(self, next: ClientOutbound) -> ClientOutbound:  # noqa: A002 - as in the class
            return OnlyFirst(next)

    gateway = running.gateway
    async with await connect(running, Short()) as client:
        payments = client.create_nexus_client("payments", Payments)
        assert len(await payments.start_operations(orders(3))) == 1
    assert len(gateway.starts) == 1
