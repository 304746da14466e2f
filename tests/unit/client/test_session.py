"""The session under faults: lost answers, drains, proxies, cancellation, crowds."""

import asyncio
import logging

import grpc
import pytest
from tests.unit.client.conftest import Charge, Payments, Receipt, Running
from tests.unit.client.fake_gateway import RefusalError, serve
from tests.unit.client.teams import trust_in

from isthmus.client import Client, Profile, Start, SyncClient
from isthmus.client.errors import ClientClosedError, ConnectionLostError, DeadlineExceededError
from isthmus.transport.backoff import Backoff
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import Connection
from isthmus.transport.session import BROKEN_STREAMS_BEFORE_UNARY, Session
from isthmus.v1 import operation_service_pb2
from isthmus.wire.names import parse_operation_id

ORDER = Charge(order="42", cents=300)
PAID = Receipt(order="42", paid=300)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says of calls that are repeated."""
    return [record.message for record in caplog.records if "are repeated" in record.message]


async def test_same_bytes_are_sent_again_when_answer_is_lost(client: Client, running: Running) -> None:
    """The stream breaks after the commit: reconnect, repeat, attach to one's own operation."""
    running.gateway.broken_answers = 2
    payments = client.create_nexus_client("payments", Payments)
    assert await payments.execute_operation(Payments.charge, ORDER, id="a") == PAID
    assert len(running.gateway.starts) == 3
    assert len(set(running.gateway.starts)) == 1
    assert running.gateway.streams == 3


async def test_call_is_repeated_on_another_stream_when_gateway_drains(
    client: Client, running: Running
) -> None:
    """Nothing is lost by a drain."""
    running.gateway.drains = 1
    payments = client.create_nexus_client("payments", Payments)
    assert await payments.execute_operation(Payments.charge, ORDER, id="a") == PAID
    assert running.gateway.streams == 2


async def test_calls_share_frames_when_started_together(client: Client, running: Running) -> None:
    """What is started at the same moment travels together."""
    payments = client.create_nexus_client("payments", Payments)
    await payments.execute_operation(Payments.charge, ORDER)
    running.gateway.frames.clear()
    results = await asyncio.gather(*(payments.execute_operation(Payments.charge, ORDER) for _ in range(100)))
    assert results == [PAID] * 100
    assert sum(running.gateway.frames) == 100
    assert len(running.gateway.frames) <= 10


async def test_start_is_repeated_later_when_gateway_asks_for_it(client: Client, running: Running) -> None:
    """RESOURCE_EXHAUSTED with a delay is no error within the deadline."""
    running.gateway.refusals.append(
        RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE", retry_after_ms=10)
    )
    running.gateway.refusals.append(RefusalError(grpc.StatusCode.UNAVAILABLE, "BUSY"))
    payments = client.create_nexus_client("payments", Payments)
    assert await payments.execute_operation(Payments.charge, ORDER) == PAID
    assert len(set(running.gateway.starts)) == 1
    assert len(running.gateway.starts) == 3


async def test_reason_is_in_the_log_when_a_call_is_refused_again(
    client: Client, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits learns what for, once a minute. A single refusal is not worth a word."""
    payments = client.create_nexus_client("payments", Payments)
    running.gateway.refusals.append(RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE"))
    assert await payments.execute_operation(Payments.charge, ORDER) == PAID
    assert not said(caplog)
    for _ in range(2):
        for _ in range(3):
            running.gateway.refusals.append(RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "MANY_OPEN"))
        assert await payments.execute_operation(Payments.charge, ORDER) == PAID
    (message,) = said(caplog)
    assert message.startswith("calls to the gateway are repeated (attempt 2 failed): ")
    assert "[MANY_OPEN]" in message


def test_reason_is_in_the_log_when_a_sync_call_is_refused_again(
    sync_client: SyncClient, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """A task of a scheduler has this log and nothing else."""
    payments = sync_client.create_nexus_client("payments", Payments)
    for _ in range(3):
        running.gateway.refusals.append(RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "MANY_OPEN"))
    assert payments.execute_operation(Payments.charge, ORDER) == PAID
    for _ in range(3):
        running.gateway.refusals.append(RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE"))
    payments.start_operations([Start(Payments.charge, ORDER)])
    many_open, rate = said(caplog)
    assert "[MANY_OPEN]" in many_open
    assert "[RATE]" in rate


async def test_reason_is_in_the_log_when_the_gateway_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Before the time of the call is over, which may be days."""
    connection = Connection(ChannelSettings(address="127.0.0.1:1"))
    session = Session(connection, backoff=Backoff(initial_seconds=0.01, maximum_seconds=0.02))
    wait = operation_service_pb2.WaitOperationRequest(operation_id=bytes(16))
    with pytest.raises(DeadlineExceededError):
        await session.call(operation_service_pb2.SessionCall(wait=wait), timeout_seconds=1)
    (message,) = said(caplog)
    assert "cannot reach 127.0.0.1:1" in message
    await session.close()
    await connection.close()


async def test_unary_calls_are_used_when_streams_do_not_work(
    client: Client, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that breaks streams costs speed, not function, and is named in the log."""
    running.gateway.streams_work = False
    payments = client.create_nexus_client("payments", Payments)
    with caplog.at_level(logging.WARNING, logger="isthmus"):
        assert await payments.execute_operation(Payments.charge, ORDER, id="a") == PAID
        tried = running.gateway.streams
        assert await payments.execute_operation(Payments.charge, ORDER, id="b") == PAID
    # A write that meets the refusal hides its status from the reader: then the stream is tried again.
    assert 1 <= tried <= BROKEN_STREAMS_BEFORE_UNARY
    assert running.gateway.streams == tried
    assert [record for record in caplog.records if "do not work" in record.message]


async def test_call_is_abandoned_when_waiter_is_cancelled(client: Client, running: Running) -> None:
    """Cancelling the wait tells the gateway, and never cancels the operation."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.hang, ORDER)
    waiting = asyncio.create_task(handle.result())
    await asyncio.to_thread(running.gateway.await_change, lambda: running.gateway.waits > 0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.to_thread(running.gateway.await_change, lambda: running.gateway.abandoned != [])
    operation = running.gateway.operations[parse_operation_id(handle.operation_id)]
    assert operation.ending is None
    assert operation.cancel == b""


async def test_waiters_fail_when_client_is_closed(client: Client) -> None:
    """Nobody waits for a client that is gone."""
    payments = client.create_nexus_client("payments", Payments)
    handle = await payments.start_operation(Payments.hang, ORDER)
    waiting = asyncio.create_task(handle.result())
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(ClientClosedError):
        await waiting
    with pytest.raises(ClientClosedError):
        await handle.result()


async def test_call_ends_at_its_deadline_when_gateway_is_away() -> None:
    """Connection trouble is retried inside the deadline, and named in the end."""
    connection = Connection(ChannelSettings(address="127.0.0.1:1"))
    session = Session(connection)
    wait = operation_service_pb2.WaitOperationRequest(operation_id=bytes(16))
    with pytest.raises(DeadlineExceededError) as caught:
        await session.call(operation_service_pb2.SessionCall(wait=wait), timeout_seconds=0.3)
    assert isinstance(caught.value.__cause__, ConnectionLostError)
    await session.close()
    await connection.close()


async def test_each_call_ends_at_its_own_deadline_when_they_share_a_timer() -> None:
    """A later call may have the earlier deadline, and one that is given up takes none of the others along."""
    connection = Connection(ChannelSettings(address="127.0.0.1:1"))
    session = Session(connection)
    clock = asyncio.get_running_loop().time
    ended: list[float] = []

    async def end(timeout_seconds: float) -> None:
        wait = operation_service_pb2.WaitOperationRequest(operation_id=bytes(16))
        begun = clock()
        with pytest.raises(DeadlineExceededError, match=f"within {timeout_seconds:g} s"):
            await session.call(operation_service_pb2.SessionCall(wait=wait), timeout_seconds=timeout_seconds)
        assert timeout_seconds <= clock() - begun < 10
        ended.append(timeout_seconds)

    calls = [asyncio.create_task(end(seconds)) for seconds in (0.4, 0.2, 60.0, 0.3)]
    await asyncio.sleep(0.05)
    calls.pop(2).cancel()
    await asyncio.gather(*calls)
    await end(0.1)
    assert ended == [0.2, 0.3, 0.4, 0.1]
    await session.close()
    await connection.close()


async def test_operation_ends_when_gateway_restarts_meanwhile(running: Running) -> None:
    """The same client goes on with the next process of the gateway."""
    gateway = running.gateway
    server, port = serve(gateway)
    async with await Client.connect(
        f"127.0.0.1:{port}", profile=Profile(), keyring=gateway.caller, trust=trust_in(gateway.handler)
    ) as client:
        payments = client.create_nexus_client("payments", Payments)
        handle = await payments.start_operation(Payments.hang, ORDER)
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        server.stop(None).wait()
        gateway.complete(parse_operation_id(handle.operation_id), {"order": "42", "paid": 300})
        server, _ = serve(gateway, port)
        assert await waiting == PAID
    server.stop(None).wait()
