"""The same job on Isthmus and its peers, in one run: start, handler in another application, result awaited.

``python tests/benchmarks/bench_peers.py [--store sqlite|postgresql] [--peers temporal,restate,dbos]
[--rounds N] [--seconds N] [--concurrency 1,64] [--payload-bytes N] [--json]``

All systems run at once and rest while it is not their turn; within a round they take turns, so that a
neighbor's noise meets all of them. Rounds in which the hypervisor took more than 5 % are dropped; the figures
are medians over the others. Processor time is that of all processes of a system: servers and their children,
handler and caller. Isthmus seals, signs, authenticates, decides and audits; no peer does. A ratio is
Isthmus / peer: above 1 is better for operations, below 1 for the others. Peers are installed under
``.cache/peers`` at the first run (PyPI and npm); how each is set up is said in ``peers/systems.py``.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

# As a script, too: then only this file's own folder would be on the path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.load.stores import POSTGRESQL, SQLITE, STORES
from tests.benchmarks.peers.systems import SYSTEMS, Caller

Figures = dict[str, float]
Rounds = dict[tuple[str, int], list[Figures]]
"""Of each system and concurrency, what each round gave."""

OURS = {SQLITE: "isthmus", POSTGRESQL: "isthmus-postgresql"}
"""By store. The other one can be named among the peers."""
MOST_STEAL_PERCENT = 5.0
COLUMNS = {
    "operations_per_second": "op/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_ms_per_operation": "CPU ms/op",
    "steal_percent": "steal %",
}


def run(names: Sequence[str], order: Figures, concurrencies: Sequence[int], rounds: int) -> Rounds:
    """Measure every system at every concurrency, a round at a time."""
    measured: Rounds = {(name, number): [] for number in concurrencies for name in names}
    with ExitStack() as exits:
        scratch = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        callers: dict[str, Caller] = {}
        for name in names:
            folder = scratch / name
            folder.mkdir()
            callers[name] = exits.enter_context(SYSTEMS[name](folder))
        for round_number in range(rounds):
            # Whoever is first in one round is last in the next one.
            turn = [*names] if round_number % 2 == 0 else [*reversed(names)]
            for concurrency in concurrencies:
                for name in turn:
                    figures = callers[name].measure(order | {"concurrency": concurrency})
                    measured[name, concurrency].append(figures)
    return measured


def quiet_rounds(measured: Rounds) -> list[int]:
    """Return the rounds in which nobody lost more than 5 % to the hypervisor."""
    count = len(next(iter(measured.values())))
    return [
        number
        for number in range(count)
        if all(rounds[number]["steal_percent"] <= MOST_STEAL_PERCENT for rounds in measured.values())
    ]


def medians(measured: Rounds, kept: Sequence[int]) -> dict[tuple[str, int], Figures]:
    """Return the medians over the rounds that are kept."""
    return {
        which: {name: statistics.median(rounds[number][name] for number in kept) for name in COLUMNS}
        for which, rounds in measured.items()
    }


def ratio(ours: Figures, theirs: Figures, column: str) -> float:
    """Return Isthmus / peer."""
    return ours[column] / theirs[column] if theirs[column] else float("inf")


def table(figures: dict[tuple[str, int], Figures], ours: str) -> str:
    """Return the figures for people: each system's own, and beside a peer's the ratios."""
    head = f"{'callers':>7} {'system':<19}" + "".join(f"{title:>11}" for title in COLUMNS.values())
    lines = [head + "   Isthmus / peer: op/s, p50, p99, CPU"]
    for (name, concurrency), own in figures.items():
        line = f"{concurrency:>7} {name:<19}" + "".join(f"{own[column]:>11.2f}" for column in COLUMNS)
        if name != ours:
            ratios = [ratio(figures[ours, concurrency], own, column) for column in list(COLUMNS)[:4]]
            line += "   " + " ".join(f"{value:>7.2f}" for value in ratios)
        lines.append(line)
    return "\n".join(lines)


def documents(figures: dict[tuple[str, int], Figures], ours: str) -> list[dict[str, str | int | float]]:
    """Return the figures for programs."""
    found: list[dict[str, str | int | float]] = []
    for (name, concurrency), own in figures.items():
        compared = [] if name == ours else list(COLUMNS)[:4]
        ratios = {f"ratio_{column}": ratio(figures[ours, concurrency], own, column) for column in compared}
        found.append({"system": name, "concurrency": concurrency, **own, **ratios})
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Isthmus and its peers, the same job.")
    peers = [name for name in SYSTEMS if name not in OURS.values()]
    parser.add_argument("--store", choices=STORES, default=SQLITE, help="what Isthmus keeps its state in")
    parser.add_argument("--peers", default=",".join(peers), help=f"of {', '.join(peers)}; comma separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--warm-up-seconds", type=float, default=2.0)
    parser.add_argument("--concurrency", default="1,64", help="callers at a time, comma separated")
    parser.add_argument("--payload-bytes", type=int, default=200, help="size of input and of result")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    order: Figures = {
        "payload_bytes": arguments.payload_bytes,
        "seconds": arguments.seconds,
        "warm_up_seconds": arguments.warm_up_seconds,
    }
    ours = OURS[arguments.store]
    names = [ours, *(name for name in arguments.peers.split(",") if name)]
    measured = run(names, order, [int(text) for text in arguments.concurrency.split(",")], arguments.rounds)
    kept = quiet_rounds(measured)
    if not kept:
        raise SystemExit(f"each round lost more than {MOST_STEAL_PERCENT} % to the hypervisor: try later")
    figures = medians(measured, kept)
    if arguments.json:
        print(
            json.dumps({"rounds": arguments.rounds, "kept": len(kept), "figures": documents(figures, ours)})
        )
    else:
        print(table(figures, ours))
        print(f"{len(kept)} of {arguments.rounds} rounds, medians; the others lost too much time")


if __name__ == "__main__":
    main()
