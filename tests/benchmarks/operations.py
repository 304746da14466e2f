"""What one durable operation costs: caller, gateway and worker, three processes on this machine.

``python tests/benchmarks/operations.py [--store sqlite,postgresql] [--concurrency 1,16,64,256]
[--seconds N] [--rounds N] [--payload-bytes N] [--json] [--profile caller|gateway|worker]``

Everything is on: sealing, signatures, tokens, the allow list, audit records, fsync. Stores and concurrencies
take turns within a round, so that a neighbor's noise meets all of them, and the figures are medians over the
rounds. Each store has a gateway, caller and worker of its own, which rest while it is not their turn. Of
several stores each is compared with the first: this one / the first, the median over the rounds.
The yardstick says how fast the machine was at that moment: what the primitives of sealing and opening one
message take in this process while the others rest. Each end pays for that once an operation.
``steal_percent`` is what the hypervisor took, ``foreign_percent`` what other processes of this machine used:
figures of a busy machine compare with nothing.
"""

import argparse
import itertools
import json
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As a script, too: then only this file's own folder would be on the path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.acceptance.deployment.deadline import await_that
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.two_teams import TwoTeams, create_two_teams
from tests.benchmarks.envelope import primitives
from tests.benchmarks.load.areas import areas
from tests.benchmarks.load.stores import SQLITE, STORES, StoreOfRun, new_store
from tests.benchmarks.load.window import DATABASE, PROCESSES, Order, Window
from tests.unit.envelope.world import World

from isthmus.envelope.inner import encode_inner
from isthmus.payload.payload import Payload

_PROFILED = "tests.benchmarks.load.profiled"
_CALLER = "tests.benchmarks.load.caller_program"
_WORKER = "tests.benchmarks.load.worker_program"
YARDSTICK_ROUNDS = 500
WARM_UP_SECONDS = 1.0
START_SECONDS = 60.0
STOP_SECONDS = 60.0
PROFILE_LINES = 45
MOST_AREAS = 20


COMPARED: Mapping[str, Callable[[Window], float]] = {
    "operations_per_second": lambda window: window.operations_per_second,
    "p50_ms": lambda window: window.p50_ms,
    "p99_ms": lambda window: window.p99_ms,
    "gateway_us": lambda window: window.cpu_us_per_operation["gateway"],
}

Measured = tuple[float, Window]
"""The yardstick in microseconds, and what came after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a store gave at one concurrency; ``ratios`` to the ``first`` store, of COMPARED."""

    store: str
    yardstick_us: float
    window: Window
    first: str
    ratios: dict[str, float]

    def document(self) -> dict[str, Any]:
        """Return the figures for programs."""
        document: dict[str, Any] = json.loads(self.window.to_line())
        ratios = {f"ratio_{name}": value for name, value in self.ratios.items()}
        return {"store": self.store, **document, "yardstick_us": self.yardstick_us, **ratios}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    stores: Sequence[str]
    concurrencies: Sequence[int]
    rounds: int
    seconds: float
    payload_bytes: int
    profile: str = ""


class Load:
    """Three processes, and the caller's results."""

    def __init__(self, deployment: TwoTeams, store: StoreOfRun, plan: Plan, exits: ExitStack) -> None:
        self._server = store.server
        self._results = deployment.folder / "results.jsonl"
        self._results.touch()
        self.profile = deployment.folder / "profile"
        self._plan = plan
        self.gateway = deployment.site.start(*self._before("gateway"))
        exits.callback(self.gateway.kill)
        deployment.register(self.gateway)
        self.worker = deployment.start(deployment.handler, *self._before("worker"), _WORKER, name="worker")
        exits.callback(self.worker.kill)
        self.caller = deployment.start(
            deployment.caller, *self._before("caller"), _CALLER, str(self._results), name="caller"
        )
        exits.callback(self.caller.kill)

    @property
    def processes(self) -> tuple[RunningProcess, ...]:
        """The processes, in the order of PROCESSES."""
        return self.caller, self.gateway, self.worker

    def measure(self, concurrency: int) -> Measured:
        """Return the yardstick in microseconds, and what the caller measures after it."""
        yardstick = primitives_us(self._plan.payload_bytes)
        known = len(self._lines())
        order = Order(
            concurrency=concurrency,
            warm_up_seconds=WARM_UP_SECONDS,
            seconds=self._plan.seconds,
            payload_bytes=self._plan.payload_bytes,
            pids=tuple(process.pid for process in self.processes),
            server=self._server,
        )
        self.caller.say(order.to_line())
        await_that(
            lambda: len(self._lines()) > known or self.caller.exit_code is not None,
            "the caller measures",
            seconds=START_SECONDS + WARM_UP_SECONDS + self._plan.seconds,
        )
        if len(self._lines()) == known:
            raise SystemExit(f"the caller ended:\n{self.caller.tail()}")
        return yardstick, Window.from_line(self._lines()[-1])

    def stop(self) -> None:
        """End the processes in order, so that a profile is written."""
        self.caller.close_input()
        self._expect_success(self.caller, self.caller.join(seconds=STOP_SECONDS))
        self._expect_success(self.worker, self.worker.terminate(seconds=STOP_SECONDS))
        self._expect_success(self.gateway, self.gateway.terminate(seconds=STOP_SECONDS))

    def _expect_success(self, process: RunningProcess, code: int) -> None:
        if code != 0:
            raise SystemExit(f"the {process.name} ended with {code}:\n{process.tail()}")

    def _before(self, name: str) -> tuple[str, ...]:
        return (_PROFILED, str(self.profile)) if self._plan.profile == name else ()

    def _lines(self) -> list[str]:
        return self._results.read_text(encoding="utf-8").splitlines()


def run(plan: Plan, folder: Path) -> list[Figures]:
    """Measure everything that is planned; return the figures of each concurrency, store by store."""
    with ExitStack() as exits:
        loads: dict[str, Load] = {}
        for kind in plan.stores:
            (folder / kind).mkdir()
            store = exits.enter_context(new_store(kind))
            deployment = create_two_teams(folder / kind, more_config=store.config())
            loads[kind] = Load(deployment, store, plan, exits)
        which = list(itertools.product(plan.concurrencies, plan.stores))
        rounds: list[dict[tuple[int, str], Measured]] = []
        for number in range(plan.rounds):
            # Whoever is first in one round is last in the next one.
            turn = which if number % 2 == 0 else which[::-1]
            rounds.append({(callers, kind): loads[kind].measure(callers) for callers, kind in turn})
        for kind, load in loads.items():
            load.stop()
            if plan.profile:
                print(f"{plan.profile} on {kind}")
                print_profile(load.profile)
    return [figures_of(rounds, callers, kind, plan.stores[0]) for callers, kind in which]


def figures_of(
    rounds: Sequence[dict[tuple[int, str], Measured]], callers: int, kind: str, first: str
) -> Figures:
    """Return the medians of a store at a concurrency."""
    own = [measured[callers, kind] for measured in rounds]
    yardstick, window = median(own)
    ratios: dict[str, float] = {}
    if kind != first:
        pairs = [(measured[callers, kind][1], measured[callers, first][1]) for measured in rounds]
        ratios = {
            name: statistics.median(of(mine) / of(other) for mine, other in pairs)
            for name, of in COMPARED.items()
        }
    return Figures(store=kind, yardstick_us=yardstick, window=window, first=first, ratios=ratios)


def primitives_us(payload_bytes: int) -> float:
    """Return the median of what the primitives of sealing and opening take, microseconds."""
    payload = Payload(content_type="application/json", data=bytes(payload_bytes))
    once = primitives(World(), encode_inner(payload))
    times_ns: list[int] = []
    for _ in range(YARDSTICK_ROUNDS):
        begun = time.perf_counter_ns()
        once()
        times_ns.append(time.perf_counter_ns() - begun)
    return statistics.median(times_ns) / 1000


def print_profile(path: Path) -> None:
    """Print where processor time went: by area, then function by function."""
    shares = areas(path)
    for area, seconds in itertools.islice(shares.items(), MOST_AREAS):
        print(f"{seconds / sum(shares.values()):>6.1%}  {area}")
    pstats.Stats(str(path)).sort_stats("tottime").print_stats(PROFILE_LINES)


def median(measured: Sequence[Measured]) -> Measured:
    """Return the medians, figure by figure."""
    windows = [window for _, window in measured]
    return statistics.median(yardstick for yardstick, _ in measured), Window(
        concurrency=windows[0].concurrency,
        operations_per_second=statistics.median(window.operations_per_second for window in windows),
        p50_ms=statistics.median(window.p50_ms for window in windows),
        p99_ms=statistics.median(window.p99_ms for window in windows),
        cpu_us_per_operation={
            name: statistics.median(window.cpu_us_per_operation[name] for window in windows)
            for name in windows[0].cpu_us_per_operation
        },
        steal_percent=statistics.median(window.steal_percent for window in windows),
        foreign_percent=statistics.median(window.foreign_percent for window in windows),
    )


def table(measured: Sequence[Figures]) -> str:
    """Return the figures for people."""
    names = (*PROCESSES, DATABASE)
    head = f"{'callers':>7} {'store':<10} {'op/s':>7} {'p50 ms':>8} {'p99 ms':>8}" + "".join(
        f"{name + ' µs':>14}" for name in (*names, "yardstick")
    )
    return "\n".join([head, *(line(figures, names) for figures in measured)])


def line(figures: Figures, names: Sequence[str]) -> str:
    """Return a line of the table."""
    window = figures.window
    used = window.cpu_us_per_operation
    text = (
        f"{window.concurrency:>7} {figures.store:<10} {window.operations_per_second:>7.0f}"
        f" {window.p50_ms:>8.1f} {window.p99_ms:>8.1f}"
    )
    text += "".join(f"{used[name]:>14.0f}" if name in used else f"{'-':>14}" for name in names)
    text += f"{figures.yardstick_us:>14.0f}"
    text += f"   steal {window.steal_percent:.1f} %, foreign {window.foreign_percent:.1f} %"
    if figures.ratios:
        ratios = " ".join(f"{ratio:.2f}" for ratio in figures.ratios.values())
        text += f"   / {figures.first}: op/s, p50, p99, gateway {ratios}"
    return text


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What one durable operation costs.")
    parser.add_argument("--store", default=SQLITE, help=f"of {', '.join(STORES)}; comma separated")
    parser.add_argument("--concurrency", default="1,16,64,256", help="callers at a time, comma separated")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each concurrency")
    parser.add_argument("--payload-bytes", type=int, default=200, help="size of input and of result")
    parser.add_argument("--profile", choices=PROCESSES, default="", help="which process to profile")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    stores = arguments.store.split(",")
    if not set(stores) <= set(STORES) or len(set(stores)) < len(stores):
        parser.error(f"--store takes {', '.join(STORES)}, each at most once")
    plan = Plan(
        stores=stores,
        concurrencies=[int(text) for text in arguments.concurrency.split(",")],
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        payload_bytes=arguments.payload_bytes,
        profile=arguments.profile,
    )
    with tempfile.TemporaryDirectory() as folder:
        measured = run(plan, Path(folder))
    if arguments.json:
        print(json.dumps([figures.document() for figures in measured], indent=2))
    else:
        print(table(measured))


if __name__ == "__main__":
    main()
