"""Ramps between versions of workers, and operations that stay with the version that began them."""

from datetime import timedelta

import pytest
from tests.integration.operation_calls import described, start
from tests.integration.operation_gateway import RunningGateway, Worker
from tests.integration.sealed_messages import (
    CALLER,
    ENDPOINT,
    HANDLER,
    outcome,
    request_header,
    retryable,
    sealed,
)

from isthmus.endpoints.endpoint import RetrySettings
from isthmus.endpoints.versions import VersionSettings, VersionShare, target_of
from isthmus.v1 import endpoint_service_pb2, operation_pb2, operation_service_pb2

RETRY = RetrySettings(initial_interval=timedelta(milliseconds=1), max_interval=timedelta(milliseconds=1))
NO_POLLER = operation_pb2.WAITING_CAUSE_NO_POLLER


def ramp(percent: int, *, pin: bool = False) -> VersionSettings:
    """Return a ramp to v2."""
    return VersionSettings(ramp=(VersionShare(version="v2", percent=percent),), pin=pin)


async def put_endpoint(gateway: RunningGateway, versions: VersionSettings, name: str = ENDPOINT) -> None:
    """Change what the endpoint says of versions, and let the gateway hear of it."""
    await gateway.put_endpoint(name, retry=RETRY, versions=versions)
    await gateway.circuits.step()


async def begin(gateway: RunningGateway, version: str = "", percent: int = 50, **changes: object) -> bytes:
    """Start an operation; with a version, one that a ramp of so many percent sends there."""
    while True:
        header = request_header(**changes)
        target = target_of(ramp(percent), header.operation_id, present=frozenset())
        if not version or target.takes(version):
            await start(gateway.client(CALLER), sealed(header))
            return header.operation_id


async def worker(gateway: RunningGateway, version: str, grant: int = 8) -> Worker:
    """Connect a worker of a version."""
    session_id = version.encode().ljust(16, b"-")
    return await Worker(gateway.client(HANDLER), session_id).hello(grant=grant, version=version)


@pytest.mark.parametrize("first", ["v1", "v2"])
async def test_operations_go_to_their_version_when_both_are_connected(
    operation_gateway: RunningGateway, first: str
) -> None:
    """Directly, and out of the backlog; whoever connected first, nobody gets what is not for it."""
    gateway = operation_gateway
    await put_endpoint(gateway, ramp(50))
    waiting = {await begin(gateway, version): version for version in ("v2", "v1", "v2", "v1", "v1")}
    workers = {name: await worker(gateway, name) for name in (first, *({"v1", "v2"} - {first}))}
    direct = {await begin(gateway, version): version for version in ("v1", "v2", "v2")}
    expected = waiting | direct
    for name, connected in workers.items():
        mine = {operation_id for operation_id, version in expected.items() if version == name}
        assert {(await connected.tasks.get()).operation_id for _ in mine} == mine
    assert all(connected.tasks.empty() for connected in workers.values())


async def test_operation_waits_for_its_version_when_no_worker_has_it(
    operation_gateway: RunningGateway,
) -> None:
    """It says which version is missing, and does not hold up what is behind it."""
    gateway = operation_gateway
    await put_endpoint(gateway, ramp(50))
    old = await worker(gateway, "v1", grant=4)
    for_new, for_old = await begin(gateway, "v2"), await begin(gateway, "v1")
    assert (await old.tasks.get()).operation_id == for_old
    shown = await described(gateway.client(CALLER), for_new)
    assert shown.waiting == NO_POLLER
    assert "no worker of version v2 polls" in shown.waiting_reason
    new = await worker(gateway, "v2")
    assert (await new.tasks.get()).operation_id == for_new
    await new.disconnect()
    left_over = await begin(gateway, "v1")
    await old.tasks.get()
    await old.disconnect()
    # In a store that gateways share, its session counts until its lease is over.
    gateway.advance(seconds=31)
    another = await begin(gateway, "v1")
    reason = (await described(gateway.client(CALLER), another)).waiting_reason
    assert "no worker of a version other than v2 polls" in reason
    assert left_over != another


async def test_credit_is_used_when_it_comes_after_tasks_were_passed_by(
    operation_gateway: RunningGateway,
) -> None:
    """A busy version's tasks wait while the other one has slots; its next slot takes them at once."""
    gateway = operation_gateway
    await put_endpoint(gateway, ramp(50))
    old, new = await worker(gateway, "v1", grant=1), await worker(gateway, "v2", grant=8)
    first, second = await begin(gateway, "v1"), await begin(gateway, "v1")
    task = await old.tasks.get()
    assert task.operation_id == first
    for_new = await begin(gateway, "v2")
    assert (await new.tasks.get()).operation_id == for_new
    assert (await described(gateway.client(CALLER), second)).waiting == (
        operation_pb2.WAITING_CAUSE_FAIR_SHARE
    )
    await old.answer(outcome(task), grant=1)
    assert (await old.tasks.get()).operation_id == second


async def test_waiting_operations_follow_when_the_ramp_changes(operation_gateway: RunningGateway) -> None:
    """Rolling back takes effect at once for what has not begun: nothing is stuck with a bad version."""
    gateway = operation_gateway
    await put_endpoint(gateway, ramp(50))
    old = await worker(gateway, "v1")
    operation_id = await begin(gateway, "v2")
    assert (await described(gateway.client(CALLER), operation_id)).waiting == NO_POLLER
    await put_endpoint(gateway, ramp(0))
    assert (await old.tasks.get()).operation_id == operation_id
    await put_endpoint(gateway, ramp(50))
    other = await begin(gateway, "v2")
    await put_endpoint(gateway, VersionSettings())
    assert (await old.tasks.get()).operation_id == other


async def test_retry_stays_with_the_version_that_began_when_it_is_pinned(
    operation_gateway: RunningGateway,
) -> None:
    """Also when the ramp says otherwise now; not any more when its workers have gone."""
    gateway = operation_gateway
    await put_endpoint(gateway, ramp(0, pin=True))
    old = await worker(gateway, "v1", grant=1)
    operation_id = await begin(gateway)
    task = await old.tasks.get()
    new = await worker(gateway, "v2")
    await put_endpoint(gateway, ramp(100, pin=True))
    await old.answer(retryable(task), grant=1)
    gateway.advance(milliseconds=2)
    again = await old.tasks.get()
    assert again.operation_id == operation_id
    assert (await described(gateway.client(CALLER), operation_id)).version == "v1"
    await old.disconnect()
    gateway.advance(seconds=25)
    await new.send()
    await new.send(grant=1)
    while gateway.assembly.dispatcher._live[new.session_id].session.expires_at <= gateway.clock.now() + (
        timedelta(seconds=10)
    ):
        await described(gateway.client(CALLER), operation_id)
    gateway.advance(seconds=10)
    await gateway.lost_sessions.step()
    gateway.advance(milliseconds=2)
    taken = await new.tasks.get()
    assert (taken.operation_id, taken.attempt) == (operation_id, 3)
    assert (await described(gateway.client(CALLER), operation_id)).version == "v2"


async def test_redriven_operation_is_for_every_version(operation_gateway: RunningGateway) -> None:
    """Whoever redrives it mended something: the version that failed does not keep it."""
    gateway = operation_gateway
    await gateway.put_endpoint(retry=RetrySettings(max_attempts=1), versions=VersionSettings(pin=True))
    await gateway.circuits.step()
    old = await worker(gateway, "v1", grant=1)
    operation_id = await begin(gateway)
    await old.answer(retryable(await old.tasks.get()))
    new = await worker(gateway, "v2")
    owner = gateway.client(HANDLER)
    await owner.operations.RedriveOperation(
        operation_service_pb2.RedriveOperationRequest(operation_id=operation_id), metadata=owner.metadata
    )
    assert (await new.tasks.get()).operation_id == operation_id


async def test_other_endpoints_go_to_any_worker_when_they_share_the_queue(
    operation_gateway: RunningGateway,
) -> None:
    """A ramp is its endpoint's own matter."""
    gateway = operation_gateway
    await put_endpoint(gateway, ramp(100))
    await gateway.put_endpoint("second")
    old = await worker(gateway, "v1")
    await begin(gateway)
    plain = await begin(gateway, endpoint="second")
    assert (await old.tasks.get()).operation_id == plain
    assert old.tasks.empty()


async def test_owner_sees_versions_when_it_describes_the_endpoint(operation_gateway: RunningGateway) -> None:
    """The ramp, and which workers are there."""
    gateway = operation_gateway
    await put_endpoint(gateway, ramp(10, pin=True))
    for version in ("v2", "v1"):
        await worker(gateway, version)
    owner = gateway.client(HANDLER)
    shown = await owner.endpoints.GetEndpoint(
        endpoint_service_pb2.GetEndpointRequest(name=ENDPOINT, include_backlog=True), metadata=owner.metadata
    )
    assert [(share.version, share.percent) for share in shown.endpoint.versions.ramp] == [("v2", 10)]
    assert shown.endpoint.versions.pin
    present = [(found.version, found.sessions) for found in shown.backlog.versions]
    assert present == [("v1", 1), ("v2", 1)]
