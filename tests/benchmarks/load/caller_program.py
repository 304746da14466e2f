"""data-team's program: takes orders on its standard input, writes what it measured into a file."""

import asyncio
import itertools
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.acceptance.deployment.two_teams import ENDPOINT
from tests.benchmarks.load.echo import Echo
from tests.benchmarks.load.machine import ProcessorTime
from tests.benchmarks.load.window import DATABASE, PROCESSES, Order, Window

from isthmus.client import Client, NexusClient

_MEDIAN, _NINETY_NINTH = 0.50, 0.99


async def call_again_and_again(
    echo: NexusClient[Echo], payload: str, ended: list[tuple[float, float]]
) -> None:
    """Call, and note when each call ended and how long it took, in seconds."""
    for number in itertools.count():
        begun = time.perf_counter()
        value = payload + str(number % 10)
        if await echo.execute_operation(Echo.echo, value) != value:
            raise AssertionError
        now = time.perf_counter()
        ended.append((now, now - begun))


async def measure(echo: NexusClient[Echo], order: Order) -> Window:
    """Keep so many callers busy, and look at the middle of it."""
    payload = "x" * (order.payload_bytes - 1)
    ended: list[tuple[float, float]] = []
    callers = [
        asyncio.create_task(call_again_and_again(echo, payload, ended)) for _ in range(order.concurrency)
    ]
    try:
        await asyncio.wait(callers, timeout=order.warm_up_seconds)
        before, begun = ProcessorTime.read(order.pids, order.server), time.perf_counter()
        await asyncio.wait(callers, timeout=order.seconds)
        used, over = ProcessorTime.read(order.pids, order.server).since(before), time.perf_counter()
        for caller in callers:
            if caller.done():
                caller.result()
    finally:
        for caller in callers:
            caller.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*callers)
    names = PROCESSES if order.server is None else (*PROCESSES, DATABASE)
    latencies = sorted(seconds for at, seconds in ended if begun <= at < over)
    count = len(latencies)
    return Window(
        concurrency=order.concurrency,
        operations_per_second=count / (over - begun),
        p50_ms=latencies[int(count * _MEDIAN)] * 1e3,
        p99_ms=latencies[int(count * _NINETY_NINTH)] * 1e3,
        cpu_us_per_operation={
            name: seconds / count * 1e6 for name, seconds in zip(names, used.processes, strict=True)
        },
        steal_percent=used.steal_share * 100,
        foreign_percent=used.foreign_share * 100,
    )


async def main(results: Path) -> None:
    """Follow orders until there are no more."""
    async with await Client.connect() as client:
        echo = client.create_nexus_client(ENDPOINT, Echo)
        while line := await asyncio.to_thread(sys.stdin.readline):
            window = await measure(echo, Order.from_line(line))
            with results.open("a", encoding="utf-8") as file:
                file.write(window.to_line() + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
