"""What can happen to operations: the gateway's commands on a store, each step repeated on the model."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
)
from tests.contract.commands import putting_endpoints
from tests.contract.conftest import StoreFactory
from tests.contract.life_model import Life, Retries, Sessions, digest, expected, where
from tests.contract.samples import ACTOR, CALLER, HANDLER, NOW, QUEUE, endpoint, key, seconds, session
from tests.integration.sealed_messages import request_header

from isthmus.endpoints.endpoint import RetrySettings
from isthmus.gateway.commands.end_attempt import (
    FailedAttempt,
    cancel_delivered,
    end_attempt,
    retry_delivery,
    return_task,
)
from isthmus.gateway.commands.expire_operations import expire_operations
from isthmus.gateway.commands.lease_tasks import LeasedTask, Offer, lease_tasks
from isthmus.gateway.commands.record_outcome import Recorded, SealedOutcome, record_outcome
from isthmus.gateway.commands.redrive_operation import redrive_operation
from isthmus.gateway.commands.request_cancel import RequestCancel, request_cancel
from isthmus.gateway.commands.start_operation import ReusePolicy, StartOperation, start_operation
from isthmus.gateway.commands.terminate_operation import terminate_operation
from isthmus.gateway.commands.worker_sessions import lose_sessions, renew_session
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.errors import AlreadyExistsError, ConflictError, NotFoundError, PreconditionError
from isthmus.gateway.core.operation import AttemptEnd, Operation
from isthmus.gateway.core.rotation import Rotation
from isthmus.gateway.ports import AuditFilter, Command, Store, TaskKind, UnitOfWork, WorkerSession
from isthmus.v1 import audit_pb2
from isthmus.wire.header import Direction, Header
from isthmus.wire.names import OperationId

T = TypeVar("T")

# As many as end on the way; most steps go to those that are still open.
OPERATIONS = 8
NUMBERS = st.integers(min_value=1, max_value=OPERATIONS)
SESSIONS = st.integers(min_value=1, max_value=2)
WORKER = Actor(namespace=HANDLER, principal="billing/worker")
ENDPOINTS = {"parking": Retries(most=2, parks=True), "strict": Retries(most=2, parks=False)}
ENDINGS = {
    Direction.RESULT: "succeeded",
    Direction.FAILURE: "failed",
    Direction.CANCELED: "canceled",
}


class AbandonedError(Exception):
    """What a command raises that is to change nothing."""


def session_of(number: int, **changes: Any) -> WorkerSession:
    """Return a worker session."""
    return session(bytes([number]) * 16, **changes)


class LifeMachine(RuleBasedStateMachine):
    """Steps of the gateway's commands on a store, each repeated on the model."""

    def __init__(self, new_store: StoreFactory) -> None:
        super().__init__()
        self._new_store = new_store
        self.now = NOW
        self.lives: dict[int, Life] = {}
        self.sessions = Sessions()
        self.rotation = Rotation()
        self._runner = asyncio.Runner()
        self.store = self._opened()
        for name, retries in ENDPOINTS.items():
            self.do(putting_endpoints(self._endpoint(name, retries)))

    def _opened(self) -> Store:
        store = self._new_store()
        self._runner.run(store.open())
        return store

    def do(self, command: Command[T]) -> T:
        """Run a command and commit it."""
        return self._runner.run(self.store.transact(command))

    def refused(self, error: type[Exception], command: Command[object]) -> None:
        """Run a command that has to be refused."""
        with pytest.raises(error):
            self.do(command)

    def _rather(self, number: int, *states: str) -> int:
        """Return an operation in one of these states, if there is one: most steps are to get somewhere."""
        there = sorted(each for each, life in self.lives.items() if life.state in states)
        return there[number % len(there)] if there else number

    @staticmethod
    def _endpoint(name: str, retries: Retries) -> Any:  # noqa: ANN401 - as `endpoint` returns it
        return endpoint(
            name,
            retry=RetrySettings(
                initial_interval=retries.first,
                max_interval=retries.longest,
                max_attempts=retries.most,
                park_when_exhausted=retries.parks,
            ),
        )

    def _header(self, number: int, name: str = "", **changes: Any) -> Header:
        return request_header(
            endpoint=name or self._endpoint_of(number),
            operation_id=OperationId(key(number).operation_id),
            **changes,
        )

    def _endpoint_of(self, number: int) -> str:
        life = self.lives.get(number)
        retries = ENDPOINTS["parking"] if life is None else life.retries
        return next(name for name, each in ENDPOINTS.items() if each == retries)

    def _request_digest(self, number: int) -> bytes:
        life = self.lives.get(number)
        return digest("request", number, life.body if life else "", self._endpoint_of(number))

    @rule(
        number=NUMBERS,
        name=st.sampled_from(sorted(ENDPOINTS)),
        body=st.sampled_from(["a", "b"]),
        reuse=st.sampled_from(ReusePolicy),
        start_by=st.sampled_from([0, 2]),
        run_for=st.sampled_from([0, 4]),
        close_by=st.sampled_from([6, 600, 600]),
        is_abandoned=st.sampled_from([False, False, False, True]),
    )
    def start(
        self,
        *,
        number: int,
        name: str,
        body: str,
        reuse: ReusePolicy,
        start_by: int,
        run_for: int,
        close_by: int,
        is_abandoned: bool,
    ) -> None:
        """Start an operation, attach to it, or be refused."""
        header = self._header(
            number,
            name,
            fingerprint=digest("fingerprint", body),
            schedule_to_start_timeout_ms=start_by * 1000,
            start_to_close_timeout_ms=run_for * 1000,
            schedule_to_close_timeout_ms=close_by * 1000,
        )
        request_digest = digest("request", number, body, name)
        request = StartOperation(
            header=header,
            envelope=body.encode(),
            digest=request_digest,
            endpoint=self._endpoint(name, ENDPOINTS[name]),
            actor=ACTOR,
            rule="allow[0]",
            reuse=reuse,
        )

        def command(unit: UnitOfWork) -> bool:
            attached = start_operation(unit, request, now=self.now).attached
            if is_abandoned:
                raise AbandonedError
            return attached

        life = self.lives.get(number)
        if life is None and not is_abandoned:
            assert not self.do(command)
            self.lives[number] = Life(
                retries=ENDPOINTS[name],
                body=body,
                close_by=self.now + seconds(close_by),
                start_by=self.now + seconds(start_by) if start_by else None,
                run_for=seconds(run_for) if run_for else None,
                ready_at=self.now,
            )
        elif life is not None and (life.body, life.retries) != (body, ENDPOINTS[name]):
            self.refused(ConflictError, command)
        elif (
            life is not None
            and reuse is ReusePolicy.REJECT
            and self._request_digest(number) != request_digest
        ):
            self.refused(AlreadyExistsError, command)
        elif is_abandoned:
            self.refused(AbandonedError, command)
        else:
            assert self.do(command)

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        """Ask for the end of an operation."""
        number = self._rather(number, "dispatched", "started")
        header = self._header(number, direction=Direction.CANCEL)._replace(
            request_digest=self._request_digest(number)
        )
        request = RequestCancel(header=header, envelope=b"cancel", digest=digest("cancel"), actor=ACTOR)

        def command(unit: UnitOfWork) -> Operation:
            return request_cancel(unit, request, now=self.now)

        if number in self.lives:
            self.do(command)
            self.lives[number].cancel(self.now)
        else:
            self.refused(NotFoundError, command)

    @rule(number=SESSIONS, lives_seconds=st.sampled_from([2, 30]))
    def renew(self, number: int, lives_seconds: int) -> None:
        """Open a worker session, or extend its life."""
        expires_at = self.now + seconds(lives_seconds)
        self.do(lambda unit: renew_session(unit, session_of(number, expires_at=expires_at)))
        self.sessions.expires_at[number] = expires_at

    @rule(number=SESSIONS, count=st.integers(min_value=1, max_value=4))
    def lease(self, number: int, count: int) -> None:
        """Hand out what is ready: as much as there is, and nothing else."""
        if number not in self.sessions.expires_at:
            self.renew(number, 30)

        def command(unit: UnitOfWork) -> tuple[list[tuple[LeasedTask, ...]], Rotation]:
            offers = [Offer(session=session_of(number), count=count)]
            return lease_tasks(unit, QUEUE, offers=offers, rotation=self.rotation, now=self.now)

        (leased,), self.rotation = self.do(command)
        ready = self._ready()
        assert len(leased) == min(count, len(ready))
        for entry in leased:
            which = int.from_bytes(entry.task.key.operation_id)
            kind = entry.task.kind
            ready.remove((which, kind))
            life = self.lives[which]
            if kind is TaskKind.CANCEL:
                life.cancel_session = number
            else:
                life.lease(number, self.now)
                assert entry.task.attempt == life.attempt

    def _ready(self) -> list[tuple[int, TaskKind]]:
        starts = [
            (number, TaskKind.START)
            for number, life in self.lives.items()
            if life.ready_at is not None and life.ready_at <= self.now
        ]
        cancels = [
            (number, TaskKind.CANCEL)
            for number, life in self.lives.items()
            if life.cancel_at is not None and life.cancel_session is None and life.cancel_at <= self.now
        ]
        return starts + cancels

    @rule(
        number=NUMBERS,
        direction=st.sampled_from([*ENDINGS, *[Direction.STARTED] * len(ENDINGS)]),
        nonce=st.integers(0, 1),
    )
    def answer(self, number: int, direction: Direction, nonce: int) -> None:
        """Bring what a handler sealed, from whichever attempt."""
        if direction is Direction.STARTED:
            number = self._rather(number, "dispatched", "scheduled")
        life = self.lives.get(number)
        answer_digest = digest("answer", number, direction, nonce)

        def command(unit: UnitOfWork) -> Recorded:
            return record_outcome(unit, self._sealed(number, direction, answer_digest), now=self.now)

        if life is None:
            self.refused(NotFoundError, command)
            return
        recorded = self.do(command)
        is_repeated = life.outcome == answer_digest
        # Another process completed it before its start was recorded.
        is_overtaken = direction is Direction.STARTED and not life.statement
        assert recorded.late == (not life.is_open and not is_repeated and not is_overtaken)
        if recorded.late:
            life.late += 1
        elif life.is_open and direction is Direction.STARTED:
            life.finish_later(self.now)
        elif life.is_open:
            life.end(ENDINGS[direction], outcome=answer_digest)

    def _sealed(self, number: int, direction: Direction, answer_digest: bytes) -> SealedOutcome:
        header = self._header(number, direction=direction)._replace(
            sender_namespace=HANDLER,
            recipient_namespace=HANDLER if direction is Direction.STARTED else CALLER,
            request_digest=self._request_digest(number),
        )
        return SealedOutcome(
            key=key(number), header=header, envelope=b"answer", digest=answer_digest, actor=WORKER
        )

    @rule(number=NUMBERS, age=st.integers(0, 1), is_sealed=st.booleans())
    def fail(self, number: int, age: int, *, is_sealed: bool) -> None:
        """End an attempt without an outcome: the current one, or one that is over."""
        number = self._rather(number, "dispatched")
        life = self.lives.get(number)
        attempt = max(0, (life.attempt if life else 1) - age)
        failure = digest("failure", number, attempt) if is_sealed else b""
        failed = FailedAttempt(
            key=key(number),
            attempt=attempt,
            end=AttemptEnd.FAILED,
            error="UNAVAILABLE",
            actor=WORKER,
            failure=b"failure" if is_sealed else b"",
            failure_digest=failure,
        )

        def command(unit: UnitOfWork) -> Operation:
            return end_attempt(unit, failed, now=self.now, jitter=0.0)

        if life is None:
            self.refused(NotFoundError, command)
        elif life.state != "dispatched" or life.attempt != attempt:
            self.refused(PreconditionError, command)
        else:
            self.do(command)
            life.lose_attempt(self.now, failure=failure)

    @rule(number=NUMBERS)
    def give_back(self, number: int) -> None:
        """Give a task back unrun."""
        number = self._rather(number, "dispatched")
        life = self.lives.get(number)

        def command(unit: UnitOfWork) -> Operation:
            return return_task(unit, key(number), life.attempt if life else 1, WORKER, now=self.now)

        if life is None:
            self.refused(NotFoundError, command)
        elif life.state != "dispatched":
            self.refused(PreconditionError, command)
        else:
            self.do(command)
            life.give_back(self.now)

    @rule(number=NUMBERS, is_delivered=st.booleans())
    def end_cancel(self, number: int, *, is_delivered: bool) -> None:
        """The cancel reached the handler, or it did not."""
        leased = [each for each, life in self.lives.items() if life.cancel_session is not None]
        if not leased:
            return
        number = leased[number % len(leased)]
        life = self.lives[number]
        life.cancel_session = None
        if is_delivered:
            self.do(lambda unit: cancel_delivered(unit, key(number), WORKER))
            life.cancel_at = None
        else:
            delay = seconds(1)
            self.do(
                lambda unit: retry_delivery(
                    unit, key(number), TaskKind.CANCEL, WORKER, now=self.now, delay=delay
                )
            )
            life.cancel_at = self.now + delay

    @rule(number=NUMBERS)
    def redrive(self, number: int) -> None:
        """Give a parked operation new attempts."""
        number = self._rather(number, "parked")
        life = self.lives.get(number)

        def command(unit: UnitOfWork) -> bool:
            return redrive_operation(unit, key(number), WORKER, now=self.now).redriven

        if life is None:
            self.refused(NotFoundError, command)
        elif not life.is_open or (life.state != "parked" and not life.was_redriven):
            self.refused(PreconditionError, command)
        else:
            assert self.do(command) == (life.state == "parked")
            life.redrive(self.now)

    @rule(number=NUMBERS)
    def terminate(self, number: int) -> None:
        """End an operation by force."""
        life = self.lives.get(number)

        def command(unit: UnitOfWork) -> bool:
            return terminate_operation(unit, key(number), WORKER, reason="because", now=self.now).terminated

        if life is None:
            self.refused(NotFoundError, command)
        elif life.is_open:
            assert self.do(command)
            life.end("failed", statement="terminated")
        elif life.statement == "terminated":
            assert not self.do(command)
        else:
            self.refused(PreconditionError, command)

    @rule(passed=st.sampled_from([0.001, 0.5, 1.0, 3.0]))
    def wait(self, passed: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=passed)

    @rule()
    def time_out(self) -> None:
        """End what is overdue: all of it, and nothing else."""
        ended = self.do(lambda unit: expire_operations(unit, now=self.now, limit=100))
        due = {number for number, life in self.lives.items() if life.is_open and life.due_at() <= self.now}
        assert {int.from_bytes(of.key.operation_id) for of in ended} == due
        for number in due:
            self.lives[number].end("timed_out", statement="timed_out")

    @rule()
    def lose_workers(self) -> None:
        """Take back what sessions hold that were not renewed."""
        lost = self.do(lambda unit: lose_sessions(unit, now=self.now, limit=10, jitter=lambda: 0.0))
        due = {number for number, expires_at in self.sessions.expires_at.items() if expires_at <= self.now}
        assert {entry.session_id[0] for entry in lost} == due
        for number in due:
            del self.sessions.expires_at[number]
            for life in self.lives.values():
                if life.session == number:
                    life.lose_attempt(self.now)
                if life.cancel_session == number:
                    life.cancel_session, life.cancel_at = None, self.now

    @rule()
    def restart(self) -> None:
        """Close the store and open it again: whose turn it is, is forgotten, and nothing else."""
        self._runner.run(self.store.close())
        self.store = self._opened()
        self.rotation = Rotation()

    @invariant()
    def operations_are_as_in_the_model(self) -> None:
        """Compare every operation and every task."""
        stored = self.do(
            lambda unit: {
                number: (
                    unit.operation(key(number)),
                    unit.task(key(number), TaskKind.START),
                    unit.task(key(number), TaskKind.CANCEL),
                )
                for number in range(1, OPERATIONS + 1)
            }
        )
        for number, (operation, start, cancel) in stored.items():
            life = self.lives.get(number)
            if operation is None or life is None:
                assert (operation, life, start, cancel) == (None, None, None, None)
                continue
            statement = "" if operation.statement is None else operation.statement.value
            assert operation.state.value == life.state
            assert operation.attempt == life.attempt
            assert operation.attempts_spent == life.spent
            assert operation.cancel_requested == life.cancel_requested
            assert operation.outcome_digest == life.outcome
            assert statement.startswith(life.statement)
            assert bool(statement) == bool(life.statement)
            assert operation.state.is_terminal == (not life.is_open)
            assert where(start) == expected(life.ready_at, life.session)
            assert where(cancel) == expected(life.cancel_at, life.cancel_session)

    def teardown(self) -> None:
        """Find each start and each end in the audit log, once, and every late outcome."""
        for number, life in self.lives.items():
            types = self._audited(number)
            assert types["operation_started"] == 1
            assert types["operation_ended"] == (not life.is_open)
            assert types["late_outcome_refused"] == life.late
        self._runner.run(self.store.close())
        self._runner.close()

    def _audited(self, number: int) -> Counter[str]:
        wanted = AuditFilter(operation_id=key(number).operation_id, limit=1000)
        events = self._runner.run(self.store.read(lambda reader: reader.audit_events(wanted)))
        messages = [audit_pb2.AuditEvent.FromString(event.event) for event in events]
        return Counter(message.WhichOneof("event") or "" for message in messages)
