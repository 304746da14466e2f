"""Kills one process after the other while jobs flow, and starts it again."""

import logging
import random
import time
from collections import Counter
from pathlib import Path

from tests.acceptance.deployment.deadline import OverdueError, await_that
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.two_teams import TwoTeams
from tests.faults.kill.checker import Finding, OutcomeWatch, check
from tests.faults.kill.durable_lines import JournalReader, read_journal
from tests.faults.kill.records import CallerLog, Run
from tests.faults.kill.stored import read_store

_CALLER = "tests.faults.kill.caller_program"
_WORKER = "tests.faults.kill.worker_program"
_WORKERS = 2
PROGRESS_SECONDS = 40.0
FINISH_SECONDS = 90.0
LONGEST_CALM_SECONDS = 0.4
LONGEST_ABSENCE_SECONDS = 0.3

_LOG = logging.getLogger(__name__)


class KillRounds:
    """A deployment under fire. ``randomness`` decides who is killed when."""

    def __init__(self, deployment: TwoTeams, randomness: random.Random) -> None:
        self._deployment = deployment
        self._random = randomness
        self._log = deployment.folder / "caller.jsonl"
        self._reader = JournalReader(self._log)
        self._outcomes: set[str] = set()
        self._watch = OutcomeWatch()
        self.kills: Counter[str] = Counter()
        self._gateway = deployment.site.start()
        deployment.register(self._gateway)
        self._workers = [self._start_worker(number) for number in range(_WORKERS)]
        self._caller = self._start_caller()

    def round(self) -> None:
        """Let jobs flow, kill one process at a random moment, start it again after a random pause."""
        self._await_progress()
        time.sleep(self._random.uniform(0, LONGEST_CALM_SECONDS))
        victim = self._random.choice(["gateway", "worker", "caller"])
        self.kills[victim] += 1
        absence_seconds = self._random.uniform(0, LONGEST_ABSENCE_SECONDS)
        match victim:
            case "gateway":
                self._gateway.kill()
                self._look()
                time.sleep(absence_seconds)
                self._gateway = self._deployment.site.start()
            case "worker":
                number = self._random.randrange(_WORKERS)
                self._workers[number].kill()
                time.sleep(absence_seconds)
                self._workers[number] = self._start_worker(number)
            case _:
                self._caller.kill()
                time.sleep(absence_seconds)
                self._caller = self._start_caller()

    def finish(self) -> list[Finding]:
        """Let everything end in order, ask again for every outcome, and return what is wrong."""
        self._await_progress()
        self._caller.say("stop")
        self._expect_success(self._caller, seconds=FINISH_SECONDS)
        self._look()
        verifier = self._start_caller("--verify")
        self._expect_success(verifier, seconds=FINISH_SECONDS)
        for process in (*self._workers, self._gateway):
            process.terminate(seconds=FINISH_SECONDS)
            self._expect_success(process, seconds=FINISH_SECONDS)
        self._look()
        ledger = [Run(**line) for path in self._ledgers() for line in read_journal(path)]
        log = self.caller_log()
        _LOG.info("%d jobs, %d runs, kills: %s", len(log.intended), len(ledger), dict(self.kills))
        stored = read_store(self._deployment.site.database, self._deployment.caller.namespace)
        return [*self._watch.findings, *check(log, ledger, stored)]

    def stop(self) -> None:
        """Kill whatever runs."""
        for process in (self._caller, *self._workers, self._gateway):
            process.kill()

    def caller_log(self) -> CallerLog:
        """Read what the caller wrote down so far."""
        return CallerLog.of(read_journal(self._log))

    def _await_progress(self) -> None:
        """Return when the caller has learned of further outcomes since now."""
        known = self._learned()

        def has_progressed() -> bool:
            self._expect_alive()
            return self._learned() > known

        try:
            await_that(has_progressed, "a further outcome", seconds=PROGRESS_SECONDS)
        except OverdueError as error:
            raise AssertionError(f"{error}\n{self._tails()}") from error

    def _learned(self) -> int:
        """Return of how many operations the caller has learned the outcome so far."""
        for line in self._reader.new_lines():
            if line["event"] == "received":
                self._outcomes.add(line["operation_id"])
        return len(self._outcomes)

    def _expect_alive(self) -> None:
        for process in (self._gateway, self._caller, *self._workers):
            assert process.exit_code is None, f"{process.name} ended by itself\n{process.tail()}"

    def _expect_success(self, process: RunningProcess, *, seconds: float) -> None:
        code = process.join(seconds=seconds)
        assert code == 0, f"{process.name} ended with {code}\n{process.tail()}"

    def _look(self) -> None:
        self._watch.look(read_store(self._deployment.site.database, self._deployment.caller.namespace))

    def _start_caller(self, *options: str) -> RunningProcess:
        return self._deployment.start(
            self._deployment.caller, _CALLER, str(self._log), *options, name="caller"
        )

    def _start_worker(self, number: int) -> RunningProcess:
        return self._deployment.start(
            self._deployment.handler, _WORKER, str(self._ledgers()[number]), name=f"worker-{number}"
        )

    def _ledgers(self) -> list[Path]:
        return [self._deployment.folder / f"ledger-{number}.jsonl" for number in range(_WORKERS)]

    def _tails(self) -> str:
        return "\n".join(
            f"--- {process.name}\n{process.tail()}"
            for process in (self._gateway, *self._workers, self._caller)
        )
