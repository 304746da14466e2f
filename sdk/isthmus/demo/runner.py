"""The demonstration: two teams in processes of their own, a worker that is killed, and the accounts."""

import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from isthmus.demo.accounts import Accounts, draw_up_accounts
from isthmus.demo.audit_trail import AuditTrail, read_audit_trail
from isthmus.demo.database import Exposure, read_exposure
from isthmus.demo.dataset import load_airports, read_dataset
from isthmus.demo.deployment import APP_TEAM, DATA_TEAM, Deployment, write_deployment
from isthmus.demo.development import START_SECONDS, environment_of, start_gateway
from isthmus.demo.journal import Entry, JournalWatch, read_journal
from isthmus.demo.preparation import cut_batches, prepare
from isthmus.demo.processes import DemoError, Processes, free_port
from isthmus.demo.provisioning import provision

LEASE_SECONDS = 5
"""How long the gateway waits for a worker that went silent: the shortest that it takes."""

SMALLEST_RUN = 40
"""Batches that even a small file is cut into, so that there is something to interrupt."""

KILL_AFTER = 0.35
"""Share of the batches that is done when the worker is killed."""

_CALLS_AT_ONCE = 16
_SILENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is, for whoever watches."""

    step: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """How it went. Times are seconds."""

    dataset: str
    duplicates: int
    rejected: int
    accounts: Accounts
    exposure: Exposure
    killed_with: int
    """Calls that were under way when the worker was killed with -9."""
    elapsed_seconds: float
    directory: Path | None
    """Where everything is kept."""


Watch = Callable[[Progress], None]


def run_demo(*, input_: Path | None, batch_rows: int, keep: Path | None, watch: Watch) -> DemoResult:
    """Run the whole demonstration; no process is left when it returns or raises.

    Raises:
        DatasetError: the input cannot be used; nothing was started.
        DemoError: a process did not do what it should.
    """
    begun = time.monotonic()
    watch(Progress(step="Reading the data"))
    dataset = load_airports() if input_ is None else read_dataset(input_)
    prepared = prepare(dataset)
    batch_rows = min(batch_rows, max(1, len(prepared.rows) // SMALLEST_RUN))
    batches = list(cut_batches(prepared.rows, batch_rows=batch_rows))
    if not batches:
        raise DemoError("none of the rows can be used: their coordinates are not on Earth")
    with ExitStack() as stack:
        if keep is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-demo-")))
        else:
            directory = keep
            if directory.exists() and any(directory.iterdir()):
                raise DemoError(f"{directory} is not empty: --keep wants a new directory")
        watch(Progress(step="Making keys for two teams"))
        deployment = write_deployment(directory, port=free_port(), lease_seconds=LEASE_SECONDS)
        run = _Run(deployment, watch=watch, batches=len(batches))
        trail, killed_with = run.carry_through(
            input_=input_, batch_rows=batch_rows, dataset_name=dataset.name
        )
        watch(Progress(step="Comparing what everybody wrote down"))
        accounts = draw_up_accounts(run.calls(), run.work(), trail, batches)
        exposure = read_exposure(deployment.database, accounts.sample_operation_id, batches)
    return DemoResult(
        dataset=dataset.name,
        duplicates=prepared.duplicates,
        rejected=prepared.rejected,
        accounts=accounts,
        exposure=exposure,
        killed_with=killed_with,
        elapsed_seconds=time.monotonic() - begun,
        directory=keep,
    )


class _Run:
    """The processes of one demonstration, and what they write down."""

    def __init__(self, deployment: Deployment, *, watch: Watch, batches: int) -> None:
        self._deployment = deployment
        self._watch = watch
        self._batches = batches
        self._calls = deployment.directory / "data-team.journal"
        self._work = deployment.directory / "app-team.journal"
        self._calls_so_far = JournalWatch(self._calls)
        self._work_so_far = JournalWatch(self._work)

    def calls(self) -> list[Entry]:
        """Return what the data team wrote down."""
        return list(read_journal(self._calls))

    def work(self) -> list[Entry]:
        """Return what the application team wrote down."""
        return list(read_journal(self._work))

    def carry_through(
        self, *, input_: Path | None, batch_rows: int, dataset_name: str
    ) -> tuple[AuditTrail, int]:
        """Run everything; return the gateway's audit trail and how much was under way at the crash."""
        with Processes(self._deployment.directory) as processes:
            self._watch(Progress(step="Starting the gateway"))
            start_gateway(processes, self._deployment)
            provision(self._deployment)
            self._watch(Progress(step="Starting both teams"))
            calling = [
                "isthmus.demo.data_team",
                "--journal",
                str(self._calls),
                "--batch-rows",
                str(batch_rows),
            ]
            if input_ is not None:
                calling += ["--input", str(input_.resolve())]
            processes.start(DATA_TEAM, calling, environment_of(self._deployment, DATA_TEAM))
            self._start_worker(processes, dataset_name)
            killed_with = self._crash(processes, dataset_name)
            self._follow(processes, "finished", "Placing the rest")
            processes.wait_until(
                lambda: self._work_so_far.count("columns") > 0,
                what="the data team's answer",
                seconds=START_SECONDS,
            )
            trail = read_audit_trail(self._deployment)
        return trail, killed_with

    def _start_worker(self, processes: Processes, dataset_name: str) -> None:
        serving = ["isthmus.demo.app_team", "--journal", str(self._work), "--dataset", dataset_name]
        processes.start(APP_TEAM, serving, environment_of(self._deployment, APP_TEAM))

    def _crash(self, processes: Processes, dataset_name: str) -> int:
        """Kill the worker with -9 in the middle of its work, and start another one."""
        self._follow(processes, "result", "Placing batches", count=int(self._batches * KILL_AFTER))
        # Frozen first: the gateway goes on handing it work, so that it certainly dies with some in its hands.
        processes.signal(APP_TEAM, signal.SIGSTOP)
        processes.wait_until(
            self._has_all_under_way, what="calls that are under way", seconds=_SILENCE_SECONDS
        )
        placed = self._placed()
        killed_with = self._count("started") - placed
        processes.kill(APP_TEAM)
        self._watch(
            Progress(
                step=f"Worker killed with -9 while {killed_with} calls were under way; starting another",
                done=placed,
                total=self._batches,
            )
        )
        self._start_worker(processes, dataset_name)
        return killed_with

    def _follow(self, processes: Processes, event: str, step: str, *, count: int = 1) -> None:
        """Show the progress until an event was written down so often."""
        last, since = -1, time.monotonic()
        while self._count(event) < count:
            processes.check()
            placed = self._placed()
            if placed != last:
                last, since = placed, time.monotonic()
                self._watch(Progress(step=step, done=placed, total=self._batches))
            elif time.monotonic() - since > _SILENCE_SECONDS:
                raise DemoError(
                    f"nothing happened for {_SILENCE_SECONDS:.0f} s:\n{processes.last_words(APP_TEAM)}"
                )
            time.sleep(_LOOK_SECONDS)
        self._watch(Progress(step=step, done=self._placed(), total=self._batches))

    def _has_all_under_way(self) -> bool:
        """Whether as much is under way as can be: results that the worker sent before still come in."""
        placed = self._placed()
        return self._count("started") - placed >= min(_CALLS_AT_ONCE, self._batches - placed)

    def _placed(self) -> int:
        return self._count("result")

    def _count(self, event: str) -> int:
        return self._calls_so_far.count(event)
