"""Limits of a caller, when it starts operations at two gateways that share a database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial

import pytest
from tests.integration.test_store_postgresql import until
from tests.unit.gateway.dispatch.test_dispatcher import World
from tests.unit.gateway.dispatch.test_limits import limited, start_of, start_together

from isthmus.gateway.ports import OperationFilter, Signal, StartCounted
from isthmus.gateway.store.postgresql import PostgresqlStore

PER_SECOND = 10
MOST_OPEN = 7


class Told:
    """Counts what a gateway heard of starts elsewhere."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, signals: Sequence[Signal]) -> None:
        """Count."""
        self.count += sum(signal.count for signal in signals if isinstance(signal, StartCounted))

    def has_heard(self, count: int) -> bool:
        """Whether it heard of so many."""
        return self.count == count


Gateways = list[tuple[World, Told]]


@pytest.fixture
async def gateways(postgresql_dsn: str) -> AsyncIterator[Gateways]:
    """Two gateways that hear of each other, on the test's time."""
    made: Gateways = []
    for _ in range(2):
        store = PostgresqlStore(postgresql_dsn)
        await store.open()
        world, told = World(store), Told()
        store.subscribe_to_others(world.dispatcher.on_signals_of_others, list)
        store.subscribe_to_others(told, list)
        made.append((world, told))
    yield made
    for world, _ in made:
        await world.dispatcher.close()
        await world.store.close()


async def test_rate_is_that_of_the_limit_when_a_caller_starts_at_two_gateways(gateways: Gateways) -> None:
    """What one gave the other does not give again, wherever the caller asks next."""
    at = limited(per_second=PER_SECOND)
    numbers = iter(range(1, 1000))

    async def ask(world: World) -> int:
        starts = [start_of(world, next(numbers), at) for _ in range(3 * PER_SECOND)]
        return (await start_together(world, *starts)).count("")

    (first, heard_by_first), (second, heard_by_second) = gateways
    assert await ask(first) == PER_SECOND
    await until(lambda: heard_by_second.count == PER_SECOND)
    assert await ask(second) == 0
    given = 0
    for turn in range(1, 5):
        for world, _ in gateways:
            world.clock.at += timedelta(seconds=1)
        asked, other = ((first, heard_by_second), (second, heard_by_first))[turn % 2]
        expected = other.count + PER_SECOND
        given += await ask(asked)
        await until(partial(other.has_heard, expected))
    assert given == 4 * PER_SECOND


async def test_burst_is_paid_back_when_two_gateways_give_at_the_same_moment(gateways: Gateways) -> None:
    """What was too much in one second is missing in the next."""
    at = limited(per_second=PER_SECOND)
    numbers = iter(range(1, 1000))

    async def ask_everywhere() -> int:
        together = [
            start_together(world, *(start_of(world, next(numbers), at) for _ in range(PER_SECOND)))
            for world, _ in gateways
        ]
        return sum(reasons.count("") for reasons in await asyncio.gather(*together))

    given = await ask_everywhere()
    assert PER_SECOND <= given <= 2 * PER_SECOND
    await until(lambda: sum(told.count for _, told in gateways) == given)
    for world, _ in gateways:
        world.clock.at += timedelta(seconds=given / PER_SECOND - 1)
    assert await ask_everywhere() == 0


async def test_open_operations_stay_within_the_limit_when_two_gateways_start_at_once(
    gateways: Gateways,
) -> None:
    """Whoever counts waits until what the other one started is committed."""
    at = limited(most_open=MOST_OPEN)
    started = await asyncio.gather(
        *(
            start_together(world, start_of(world, 2 * number + side, at))
            for number in range(1, 3 * MOST_OPEN)
            for side, (world, _) in enumerate(gateways)
        )
    )
    assert [reason for (reason,) in started].count("") == MOST_OPEN
    (world, _), _ = gateways
    assert len(await world.store.read(lambda reader: reader.list_operations(OperationFilter()))) == MOST_OPEN
