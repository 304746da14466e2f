"""Faults, alone and in pairs, while work flows; then what was written down is read and checked."""

import logging
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from sqlalchemy.exc import OperationalError
from tests.acceptance.deployment.deadline import OverdueError, await_that
from tests.acceptance.deployment.process import RunningProcess
from tests.faults.checker import Finding, check, due_us
from tests.faults.deployment import LANES, WORKERS, FaultDeployment
from tests.faults.kill.checker import OutcomeWatch
from tests.faults.kill.durable_lines import JournalReader, read_journal
from tests.faults.kill.records import Run
from tests.faults.moved_clock import move_clock
from tests.faults.plan import PARTS, Fault, FaultKind, Part, faults
from tests.faults.records import CallerHistory, History, caller_log
from tests.faults.signals import read_heard, read_signaled
from tests.faults.stored_history import read_operations, read_queue
from tests.faults.stores import StoreUnderTest
from tests.faults.tcp_proxy import FaultProxy
from tests.faults.troubles import Troubles, healthy_us
from tests.faults.turns import waits_of

PROGRESS_SECONDS = 90.0
FINISH_SECONDS = 180.0
_CRAWL_BYTES_PER_SECOND = 4_000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to."""

    seed: int
    store: str
    seconds: float
    faults: dict[str, int]
    pairs: int
    failed_over: int
    operations: int
    handler_runs: int
    signals_heard: int
    timed_out: int
    latest_timeout_ms: float
    stalls: int
    waits_judged: int
    turns_of_another: int
    turns_allowed: int
    findings: tuple[Finding, ...]


class FaultRun:
    """A run on a folder that is empty at first. ``seed`` decides which faults come when."""

    def __init__(self, folder: Path, store: StoreUnderTest, *, seed: int) -> None:
        self._deployment = FaultDeployment(folder, store)
        self._store = store
        self._seed = seed
        self._inflicted: Counter[str] = Counter()
        self._pairs = 0
        self._failed_over = 0
        self._watches = {name: OutcomeWatch() for name in LANES}
        self._readers = {name: JournalReader(self._deployment.journal(name)) for name in LANES}
        self._heard: Counter[str] = Counter()
        self._troubles = Troubles()
        # Two faults may look at the same time.
        self._looking = threading.Lock()

    def run(self, seconds: float) -> Report:
        """Inflict faults for so long, let everything end, and report."""
        began = time.monotonic()
        try:
            self._deployment.start()
            for step in faults(self._seed, self._store.kinds):
                if time.monotonic() - began > seconds:
                    break
                self._await_progress()
                self._inflict_together(step, began)
            return self._finish(began)
        finally:
            self._deployment.stop()
            self._troubles.close()

    def _inflict_together(self, step: tuple[Fault, ...], began: float) -> None:
        """Inflict faults at the same time; return when the last one is over."""

        def inflict(fault: Fault) -> None:
            time.sleep(fault.calm_seconds)
            _LOG.info("%5.1f s: %d %s", time.monotonic() - began, fault.number, fault.kind)
            self._inflict(fault)

        with ThreadPoolExecutor(len(step), thread_name_prefix="fault") as threads:
            for done in [threads.submit(inflict, fault) for fault in step]:
                done.result()
        self._inflicted.update(fault.kind for fault in step)
        self._pairs += len(step) > 1

    def _inflict(self, fault: Fault) -> None:
        inflict: Callable[[Fault], None]
        match fault.kind:
            case FaultKind.KILL_GATEWAY | FaultKind.MOVE_GATEWAY:
                inflict = self._kill_gateway
            case FaultKind.KILL_WORKER:
                inflict = self._kill_worker
            case FaultKind.KILL_CALLER | FaultKind.LEAVING_CALLER:
                inflict = self._lose_caller
            case FaultKind.RESTART_DATABASE:
                inflict = self._restart_database
            case FaultKind.CUT_CALLERS | FaultKind.CUT_WORKERS:
                inflict = self._cut
            case FaultKind.SILENCE_CALLERS | FaultKind.SILENCE_WORKERS:
                inflict = self._silence
            case FaultKind.SLOW_CALLERS:
                inflict = self._slow_down
            case FaultKind.FILL_DISK:
                inflict = self._fill_disk
            case FaultKind.MOVE_CLOCK:
                inflict = self._move_clock
            case FaultKind.HANG_WORKER | FaultKind.HANG_GATEWAY:
                inflict = self._hang
            case _:
                assert_never(fault.kind)
        inflict(fault)

    def _kill_gateway(self, fault: Fault) -> None:
        deployment = self._deployment
        others, number = divmod(fault.choice, len(deployment.gateways))
        # Every other time its clients find another one, as behind a load balancer, until it is back.
        fails_over = len(deployment.gateways) > 1 and others % 2 == 1
        with self._troubles.while_(fault.kind, new_rounds=1):
            if fails_over:
                deployment.fail_over(number)
            deployment.gateways[number].kill()
            self._look()
            time.sleep(fault.lasts_seconds)
            deployment.restart_gateway(number, elsewhere=fault.kind is FaultKind.MOVE_GATEWAY)
        if fails_over:
            self._failed_over += deployment.failed_over(number)

    def _kill_worker(self, fault: Fault) -> None:
        number = fault.choice % WORKERS
        self._deployment.workers[number].kill()
        time.sleep(fault.lasts_seconds)
        self._deployment.restart_worker(number)

    def _lose_caller(self, fault: Fault) -> None:
        name = sorted(LANES)[fault.choice % len(LANES)]
        if fault.kind is FaultKind.LEAVING_CALLER:
            self._deployment.callers[name].say("leave")
            return
        self._deployment.callers[name].kill()
        time.sleep(fault.lasts_seconds)
        self._deployment.restart_caller(name)

    def _restart_database(self, fault: Fault) -> None:
        # A lease whose commit is in doubt is repeated, as the gateway has to assume, with the same turn.
        with self._troubles.while_(fault.kind, new_rounds=len(self._deployment.gateways)):
            self._store.stop()
            time.sleep(fault.lasts_seconds)
            self._store.start()
            self._await_all_serving()

    def _cut(self, fault: Fault) -> None:
        for proxy in self._network(fault):
            proxy.cut()

    def _silence(self, fault: Fault) -> None:
        network = self._network(fault)
        for proxy in network:
            proxy.silence()
        time.sleep(fault.lasts_seconds)
        # Every other time the ends have to find out by themselves.
        if fault.choice % 2:
            for proxy in network:
                proxy.cut()

    def _slow_down(self, fault: Fault) -> None:
        network = self._network(fault)
        for proxy in network:
            proxy.crawl(_CRAWL_BYTES_PER_SECOND)
        time.sleep(fault.lasts_seconds)
        for proxy in network:
            proxy.crawl(0)

    def _network(self, fault: Fault) -> list[FaultProxy]:
        """Return the ways to all gateways of those whose network fails."""
        is_callers = PARTS[fault.kind] is Part.CALLER_NETWORK
        return self._deployment.caller_network if is_callers else self._deployment.worker_network

    def _fill_disk(self, fault: Fault) -> None:
        """Let no file of the gateway's process grow: what a full disk does, and takes no root."""
        gateway = self._deployment.gateways[0].pid
        soft, hard = resource.prlimit(gateway, resource.RLIMIT_FSIZE)
        with self._troubles.while_(fault.kind):
            resource.prlimit(gateway, resource.RLIMIT_FSIZE, (0, hard))
            time.sleep(fault.lasts_seconds)
            resource.prlimit(gateway, resource.RLIMIT_FSIZE, (soft, hard))
            self._await_all_serving()

    def _move_clock(self, fault: Fault) -> None:
        number = fault.choice % len(self._deployment.gateways)
        file = self._deployment.clock_file(number)
        move_clock(file, fault.hours * 3600)
        time.sleep(fault.lasts_seconds)
        move_clock(file, 0.0)

    def _hang(self, fault: Fault) -> None:
        if fault.kind is FaultKind.HANG_WORKER:
            with _frozen(self._deployment.workers[fault.choice % WORKERS]):
                time.sleep(fault.lasts_seconds)
            return
        gateways = self._deployment.gateways
        with self._troubles.while_(fault.kind):
            with _frozen(gateways[fault.choice % len(gateways)]):
                time.sleep(fault.lasts_seconds)
            self._await_all_serving()

    def _await_all_serving(self) -> None:
        for number in range(len(self._deployment.gateways)):
            self._deployment.await_serving(number)

    def _await_progress(self) -> None:
        """Return when every caller has heard of a further ending since now."""
        before = self._count_heard().copy()

        def all_progressed() -> bool:
            self._expect_alive()
            heard = self._count_heard()
            return all(heard[name] > before[name] for name in LANES)

        try:
            await_that(all_progressed, "a further outcome for each caller", seconds=PROGRESS_SECONDS)
        except OverdueError as error:
            heard = {name: self._heard[name] - before[name] for name in LANES}
            raise AssertionError(f"{error}: {heard}\n{self._tails()}") from error

    def _count_heard(self) -> Counter[str]:
        for name, reader in self._readers.items():
            self._heard[name] += sum(line["event"] == "received" for line in reader.new_lines())
        return self._heard

    def _finish(self, began: float) -> Report:
        """Let callers finish what they began, ask again for every outcome, stop in order, and check."""
        deployment = self._deployment
        self._await_progress()
        for process in deployment.callers.values():
            process.say("stop")
        for process in deployment.callers.values():
            self._expect_success(process)
        self._look()
        for process in [deployment.verify(name) for name in LANES]:
            self._expect_success(process)
        for process in (*deployment.workers, *deployment.gateways):
            process.terminate(seconds=FINISH_SECONDS)
            self._expect_success(process)
        self._look()
        history = self._history()
        late_us = [
            healthy_us(due_us(timing), timing.closed_us, history.troubles)
            for its in history.callers.values()
            for timing in its.timings
            if timing.timeout and timing.closed_us is not None
        ]
        changed = [
            Finding(problem=found.problem, caller=name, operation_id=found.operation_id, detail=found.detail)
            for name, watch in self._watches.items()
            for found in watch.findings
        ]
        waits = list(waits_of(history))
        return Report(
            seed=self._seed,
            store=self._store.name,
            seconds=round(time.monotonic() - began, 1),
            faults=dict(sorted(self._inflicted.items())),
            pairs=self._pairs,
            failed_over=self._failed_over,
            operations=sum(len(its.stored) for its in history.callers.values()),
            handler_runs=len(history.ledger),
            signals_heard=len(history.heard),
            timed_out=len(late_us),
            latest_timeout_ms=max(late_us, default=0) / 1000,
            stalls=sum(entry.why == "the machine stalled" for entry in history.troubles),
            waits_judged=len(waits),
            turns_of_another=max((wait.most_turns for wait in waits), default=0),
            turns_allowed=history.gateways,
            findings=(*changed, *check(history)),
        )

    def _history(self) -> History:
        callers: dict[str, CallerHistory] = {}
        engine = self._store.engine()
        try:
            with engine.connect() as connection:
                for name in LANES:
                    journal = read_journal(self._deployment.journal(name))
                    log, moments = caller_log(journal)
                    stored, timings = read_operations(connection, name)
                    callers[name] = CallerHistory(
                        log=log,
                        moments=moments,
                        stored=stored,
                        timings=timings,
                        signaled=read_signaled(journal),
                    )
                queue = read_queue(connection)
        finally:
            engine.dispose()
        lines = [line for path in self._deployment.ledgers() for line in read_journal(path)]
        return History(
            callers=callers,
            ledger=tuple(Run(**line) for line in lines if "event" not in line),
            queue=queue,
            troubles=self._troubles.all(),
            gateways=self._store.gateways,
            heard=read_heard(lines),
        )

    def _look(self) -> None:
        """Compare the outcomes in the store with those before.

        A database that is away is awaited: until then a gateway that was killed is not started again.
        """
        with self._looking:
            await_that(self._could_look, "the store can be read", seconds=PROGRESS_SECONDS)

    def _could_look(self) -> bool:
        engine = self._store.engine()
        try:
            with engine.connect() as connection:
                for name, watch in self._watches.items():
                    stored, _ = read_operations(connection, name)
                    watch.look(stored)
        except OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    def _expect_alive(self) -> None:
        for process in self._deployment.processes():
            assert process.exit_code is None, f"{process.name} ended by itself\n{process.tail()}"

    def _expect_success(self, process: RunningProcess) -> None:
        code = process.join(seconds=FINISH_SECONDS)
        assert code == 0, f"{process.name} ended with {code}\n{process.tail()}"

    def _tails(self) -> str:
        return "\n".join(f"--- {each.name}\n{each.tail()}" for each in self._deployment.processes())


@contextmanager
def _frozen(process: RunningProcess) -> Generator[None]:
    process.freeze()
    try:
        yield
    finally:
        process.thaw()
