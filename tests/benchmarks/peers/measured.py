"""The caller's side of every measurement, the same for Isthmus and its peers. Standard library only.

Programs run in the virtual environment of their peer, so nothing of the project can be imported there. Orders
come line by line on standard input, what was measured goes to standard output, as JSON.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat after the name, which may contain spaces: parent; time of itself and of ended children.
_PARENT, _TIMES = 1, slice(11, 15)
_STEAL, _FIELDS = 7, slice(1, 9)
Call = Callable[[str], Awaitable[str]]


def processor_seconds(roots: Iterable[int]) -> float:
    """Return the processor time so far of processes and everything that they started."""
    wanted, times = set(roots), {}
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[_PARENT])
                times[int(folder.name)] = sum(map(int, fields[_TIMES]))
    total = 0
    for pid, ticks in times.items():
        above = pid
        while above not in wanted and above in parents:
            above = parents[above]
        total += ticks if above in wanted else 0
    return total / _TICKS_PER_SECOND


def machine_ticks() -> tuple[int, int]:
    """Return what the hypervisor took from this machine so far, and all there was."""
    fields = [int(field) for field in _first_line("/proc/stat").split()[_FIELDS]]
    return fields[_STEAL], sum(fields)


def _first_line(path: str) -> str:
    return Path(path).read_text(encoding="ascii").partition("\n")[0]


async def measure(call: Call, order: dict[str, float], pids: Iterable[int]) -> dict[str, float]:
    """Keep so many callers busy, and look at the middle of it."""
    payload = "x" * (int(order["payload_bytes"]) - 1)
    ended: list[tuple[float, float]] = []

    async def again_and_again() -> None:
        for number in itertools.count():
            value, begun = payload + str(number % 10), time.perf_counter()
            if await call(value) != value:
                raise AssertionError
            now = time.perf_counter()
            ended.append((now, now - begun))

    callers = [asyncio.create_task(again_and_again()) for _ in range(int(order["concurrency"]))]
    try:
        await asyncio.wait(callers, timeout=order["warm_up_seconds"], return_when=asyncio.FIRST_COMPLETED)
        used, (steal, total), begun = processor_seconds(pids), machine_ticks(), time.perf_counter()
        await asyncio.wait(callers, timeout=order["seconds"], return_when=asyncio.FIRST_COMPLETED)
        used, (steal_after, total_after) = processor_seconds(pids) - used, machine_ticks()
        over = time.perf_counter()
        for caller in callers:
            if caller.done():
                caller.result()
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    latencies = sorted(seconds for at, seconds in ended if begun <= at < over)
    if not latencies:
        raise SystemExit("no operation ended in the window: make it longer")
    return {
        "operations_per_second": len(latencies) / (over - begun),
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "cpu_ms_per_operation": used / len(latencies) * 1e3,
        "steal_percent": (steal_after - steal) / max(1, total_after - total) * 100,
    }


async def follow_orders(call: Call) -> None:
    """Measure as often as an order comes, until there are no more."""
    print(json.dumps("ready"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        print(json.dumps(await measure(call, order, [*order["pids"], os.getpid()])), flush=True)
