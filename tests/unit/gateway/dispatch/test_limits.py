"""Limits of a caller at an endpoint: new operations count, nothing else does."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.contract.commands import completing
from tests.contract.samples import endpoint
from tests.integration.sealed_messages import CALLER, HANDLER, queue_key
from tests.unit.gateway.dispatch.test_dispatcher import World

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.commands.start_operation import ReusePolicy, StartOperation
from isthmus.gateway.core.errors import AlreadyExistsError, ExhaustedError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import AuditFilter, OperationFilter
from isthmus.gateway.store.sqlite import SqliteStore


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A dispatcher on an empty store."""
    store = SqliteStore(tmp_path / "isthmus.db")
    await store.open()
    made = World(store)
    yield made
    await made.dispatcher.close()
    await store.close()


def limited(per_second: int = 0, most_open: int = 0, name: str = "invoices") -> Endpoint:
    """Return an endpoint with limits."""
    return endpoint(
        name,
        namespace=HANDLER,
        task_queue=queue_key().task_queue,
        max_operations_per_second=per_second,
        max_open_operations=most_open,
    )


def start_of(world: World, number: int, at: Endpoint, caller: str = CALLER) -> StartOperation:
    """Return the start of an operation with this number."""
    start = world.start_of({"operation_id": number.to_bytes(16), "sender_namespace": caller})
    return replace(start, endpoint=at)


async def start_together(world: World, *starts: StartOperation) -> list[str]:
    """Start operations in one commit; return the reason of each refusal, empty where there is none."""
    results = await world.dispatcher.start_all(starts)
    return [result.reason if isinstance(result, ExhaustedError) else "" for result in results]


async def test_start_waits_for_its_turn_when_its_caller_starts_too_many(world: World) -> None:
    """One second's worth at once, then what the rate gives; the answer says when, and nothing is written."""
    at = limited(per_second=2)
    assert await start_together(world, *(start_of(world, number, at) for number in (1, 2, 3))) == [
        "",
        "",
        "RATE_LIMITED",
    ]
    with pytest.raises(ExhaustedError) as refused:
        await world.dispatcher.start(start_of(world, 3, at))
    assert refused.value.retry_after_seconds == 0.5
    assert len(await world.store.read(lambda reader: reader.list_operations(OperationFilter()))) == 2
    assert len(await world.store.read(lambda reader: reader.audit_events(AuditFilter()))) == 2
    world.clock.at += timedelta(seconds=0.5)
    assert await start_together(world, start_of(world, 3, at), start_of(world, 4, at)) == ["", "RATE_LIMITED"]


async def test_limit_is_each_callers_own_when_another_one_reached_it(world: World) -> None:
    """Neither another caller nor another endpoint suffers."""
    at = limited(per_second=1, most_open=1)
    await world.dispatcher.start(start_of(world, 1, at))
    assert await start_together(
        world,
        start_of(world, 2, at),
        start_of(world, 2, at, caller="web"),
        start_of(world, 3, limited(per_second=1, most_open=1, name="refunds")),
    ) == ["RATE_LIMITED", "", ""]


async def test_attaching_costs_nothing_when_limits_are_reached(world: World) -> None:
    """The same start again is answered, and takes no token from the next new one."""
    at = limited(per_second=1, most_open=2)
    first = start_of(world, 1, at)
    await world.dispatcher.start(first)
    for _ in range(3):
        assert (await world.dispatcher.start(first)).attached
    world.clock.at += timedelta(seconds=1)
    for _ in range(3):
        assert (await world.dispatcher.start(first)).attached
    await world.dispatcher.start(start_of(world, 2, at))
    world.clock.at += timedelta(seconds=1)
    assert await start_together(world, start_of(world, 3, at), first) == ["TOO_MANY_OPEN_OPERATIONS", ""]


async def test_token_comes_back_when_the_start_fails(world: World) -> None:
    """What was refused for another reason began nothing."""
    at = limited(per_second=2)
    start = start_of(world, 1, at)
    await world.dispatcher.start(start)
    with pytest.raises(AlreadyExistsError):
        await world.dispatcher.start(replace(start, digest=b"d" * 32, reuse=ReusePolicy.REJECT))
    assert await start_together(world, start_of(world, 2, at)) == [""]


async def test_open_operations_stay_within_the_limit_when_starts_share_a_commit(world: World) -> None:
    """Exact inside the commit that would exceed it; who ends makes room."""
    at = limited(most_open=3)
    reasons = await start_together(world, *(start_of(world, number, at) for number in range(1, 6)))
    assert reasons == ["", "", "", "TOO_MANY_OPEN_OPERATIONS", "TOO_MANY_OPEN_OPERATIONS"]
    with pytest.raises(ExhaustedError) as refused:
        await world.dispatcher.start(start_of(world, 4, at))
    assert refused.value.retry_after_seconds == 1
    await world.store.transact(
        completing(OperationKey(caller=CALLER, operation_id=start_of(world, 2, at).header.operation_id))
    )
    reasons = await start_together(world, *(start_of(world, number, at) for number in (4, 5)))
    assert reasons == ["", "TOO_MANY_OPEN_OPERATIONS"]


async def test_credit_comes_back_when_a_start_is_over_its_limit(world: World) -> None:
    """A worker that waits is not lost to a start that may not begin."""
    live, outlet = await world.connect(1, 2)
    at = limited(per_second=1, most_open=1)
    await start_together(world, start_of(world, 1, at), start_of(world, 2, at))
    world.clock.at += timedelta(seconds=1)
    await start_together(world, start_of(world, 2, at))
    await world.looked()
    assert (live.credits, live.reserved, outlet.tasks.qsize()) == (1, 0, 1)
