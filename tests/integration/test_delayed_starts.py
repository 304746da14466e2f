"""Starts that are put off: they wait for their time, say so, and can be canceled before it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.operation_calls import cancel, described, execute, start, wait
from tests.integration.operation_gateway import RunningGateway, Worker
from tests.integration.reports import Reports, ReportsHandler
from tests.integration.sealed_messages import (
    CALLER,
    HANDLER,
    HOUR_MS,
    NOW_MS,
    cancel_of,
    outcome,
    request_header,
    sealed,
)

from isthmus.client.errors import ConfigurationError, OperationCanceledError
from isthmus.testing import LocalGateway
from isthmus.v1 import operation_pb2
from isthmus.wire.header import Header

START_AT = operation_pb2.WAITING_CAUSE_START_AT


def put_off(seconds: int, **changes: object) -> Header:
    """Return the header of a request that is put off so many seconds."""
    return request_header(start_at_ms=NOW_MS + seconds * 1000, **changes)


async def test_task_goes_out_when_its_time_has_come_and_never_before(
    operation_gateway: RunningGateway,
) -> None:
    """A worker waits with a free slot: it gets what comes later first, and the other one in its time."""
    caller = operation_gateway.client(CALLER)
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=2)
    later, now = put_off(10), request_header()
    assert (await start(caller, sealed(later))).state == operation_pb2.OPERATION_STATE_SCHEDULED
    shown = await described(caller, later.operation_id)
    assert (shown.waiting, shown.attempt) == (START_AT, 0)
    assert shown.waiting_until.ToMilliseconds() == later.start_at_ms
    await start(caller, sealed(now))
    assert (await worker.tasks.get()).operation_id == now.operation_id
    operation_gateway.advance(milliseconds=9999)
    assert (await described(caller, later.operation_id)).waiting == START_AT
    assert worker.tasks.empty()
    operation_gateway.advance(milliseconds=1)
    task = await worker.tasks.get()
    assert task.operation_id == later.operation_id
    assert (await worker.answer(outcome(task))).error == b""
    ended = await wait(caller, later.operation_id)
    assert ended.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    await worker.disconnect()


async def test_operation_starts_at_once_when_its_time_is_past(operation_gateway: RunningGateway) -> None:
    """A repeated start of yesterday is not put off until then."""
    caller = operation_gateway.client(CALLER)
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    header = put_off(-5)
    calling = asyncio.create_task(execute(caller, sealed(header)))
    assert (await worker.answer(outcome(await worker.tasks.get()))).error == b""
    assert (await calling).state == operation_pb2.OPERATION_STATE_SUCCEEDED
    await worker.disconnect()


async def test_operation_ends_at_once_when_it_is_canceled_before_its_time(
    operation_gateway: RunningGateway,
) -> None:
    """No worker ever hears of it."""
    caller = operation_gateway.client(CALLER)
    envelope = sealed(put_off(10))
    await start(caller, envelope)
    assert (await cancel(caller, cancel_of(envelope))).state == operation_pb2.OPERATION_STATE_CANCELED
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    operation_gateway.advance(seconds=11)
    other = request_header()
    await start(caller, sealed(other))
    assert (await worker.tasks.get()).operation_id == other.operation_id
    assert worker.tasks.empty()
    await worker.disconnect()


@pytest.mark.parametrize(
    ("timeouts", "minutes"),
    [({"schedule_to_start_timeout_ms": 60_000}, 11), ({"schedule_to_close_timeout_ms": HOUR_MS}, 60)],
    ids=["schedule_to_start", "schedule_to_close"],
)
async def test_timeouts_count_from_where_they_should_when_a_start_is_put_off(
    operation_gateway: RunningGateway, timeouts: dict[str, int], minutes: int
) -> None:
    """Schedule-to-start from the moment that it was put off to, schedule-to-close from the call."""
    caller = operation_gateway.client(CALLER)
    header = put_off(600, **timeouts)
    await start(caller, sealed(header))
    operation_gateway.advance(milliseconds=minutes * 60_000 - 1)
    await operation_gateway.timeouts.step()
    state = (await described(caller, header.operation_id)).state
    assert state == operation_pb2.OPERATION_STATE_SCHEDULED
    operation_gateway.advance(milliseconds=1)
    await operation_gateway.timeouts.step()
    state = (await described(caller, header.operation_id)).state
    assert state == operation_pb2.OPERATION_STATE_TIMED_OUT


async def test_client_puts_a_start_off_when_it_is_asked_to(local_gateway: LocalGateway) -> None:
    """Signed, sealed and opened by a real worker; what cannot be is refused before anything is sent."""
    async with local_gateway as gateway:
        await gateway.endpoint("reports", namespace="app-team", allow=["data-team"])
        serving = gateway.worker("app-team", task_queue="reports", nexus_service_handlers=[ReportsHandler()])
        async with serving:
            client = await gateway.client("data-team")
            reports = client.create_nexus_client(endpoint="reports", service=Reports)
            soon = datetime.now(UTC) + timedelta(milliseconds=300)
            assert await reports.execute_operation(Reports.make, "soon", start_at=soon) == "SOON"
            assert datetime.now(UTC) >= soon
            later = await reports.start_operation(
                Reports.make, "later", start_at=datetime.now(UTC) + timedelta(hours=3), context=b"kept"
            )
            assert await later.contexts() == [b"kept"]
            found = await later.describe()
            assert (found.waiting, found.attempt) == ("start_at", 0)
            await later.cancel()
            with pytest.raises(OperationCanceledError):
                await later.result()
            for start_at in (
                datetime.now(UTC) + timedelta(hours=25),
                datetime.now(),  # noqa: DTZ005 - that is the mistake
            ):
                with pytest.raises(ConfigurationError, match="start_at"):
                    await reports.start_operation(Reports.make, "never", start_at=start_at)
