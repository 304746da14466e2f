"""Lease waiting tasks to worker sessions, callers taking turns."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from itertools import islice

from msgspec.structs import replace

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.commands.passing_tasks import MOST_CALLERS, Passed, PassingTasks
from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core.audit_record import GATEWAY, AuditRecord, TaskDispatched, ref
from isthmus.gateway.core.circuit import Line
from isthmus.gateway.core.events import Leased
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.core.rotation import Rotation, take_turns
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, QueueKey, Task, TaskKind, UnitOfWork, WorkerSession


class LeasedTask(Value):
    """A task with everything that its worker needs.

    ``details``, the last that was reported, only for a start; ``started`` only for a cancel or a signal, and
    ``signal`` only for that.
    """

    task: Task
    operation: Operation
    request: bytes
    cancel: bytes | None = None
    started: bytes | None = None
    details: bytes | None = None
    signal: bytes | None = None

    @property
    def sealed_bytes(self) -> int:
        """How large its messages are together."""
        others = (self.cancel, self.started, self.details, self.signal)
        return len(self.request) + sum(len(message) for message in others if message is not None)


class Offer(Value):
    """A session of the queue, and how many tasks it can take."""

    session: WorkerSession
    count: int


def lease_tasks(
    uow: UnitOfWork, queue: QueueKey, *, offers: Sequence[Offer], rotation: Rotation, now: datetime
) -> tuple[list[tuple[LeasedTask, ...]], Rotation]:
    """Lease ready tasks of a queue: each session, in the order of the offers, gets what is next in line.

    Callers take turns, going on from ``rotation``; each one's tasks go out in the order in which they became
    ready. Returns the tasks for each offer, and the rotation to go on from once this is committed.
    """
    limit = sum(offer.count for offer in offers)
    callers = uow.callers_in_line(queue, now, after=rotation.last, limit=limit)
    line = _WaitingTasks(uow, queue, now, limit=limit, share=-(-limit // max(1, len(callers))))
    chosen, rotation = take_turns(rotation, callers, line, limit)
    return _lease_all(uow, chosen, offers, now), rotation


def lease_passing_tasks(
    uow: UnitOfWork,
    queue: QueueKey,
    *,
    offers: Sequence[Offer],
    rotation: Rotation,
    passed: Passed,
    opening: AbstractSet[Line],
    version: str | None,
    now: datetime,
) -> tuple[list[tuple[LeasedTask, ...]], Rotation, Passed]:
    """Lease as ``lease_tasks`` does, out of a queue of which some tasks may be held up: those are passed by.

    So are those of the lines whose circuit is ``opening``, and those that are not for workers of the
    ``version`` that all offers have (None: it does not matter). It goes on looking behind what was ``passed``
    before, and returns how far it came.
    """
    limit = sum(offer.count for offer in offers)
    callers = uow.callers_in_line(queue, now, after=rotation.last, limit=MOST_CALLERS)
    line = PassingTasks(uow, queue, now, passed=passed, opening=opening, version=version)
    chosen, rotation = take_turns(rotation, callers, line, limit)
    return _lease_all(uow, chosen, offers, now), rotation, line.passed()


def _lease_all(
    uow: UnitOfWork, chosen: Sequence[Task], offers: Sequence[Offer], now: datetime
) -> list[tuple[LeasedTask, ...]]:
    in_line = iter(chosen)
    return [
        tuple(_lease(uow, task, offer.session, now) for task in islice(in_line, offer.count))
        for offer in offers
    ]


class _WaitingTasks:
    """``rotation.Line`` over what waits in the store, read a share at a time: nothing is read for nothing."""

    def __init__(self, uow: UnitOfWork, queue: QueueKey, now: datetime, *, limit: int, share: int) -> None:
        self._uow = uow
        self._queue = queue
        self._now = now
        self._limit = limit
        self._share = share
        self._read: dict[str, Sequence[Task]] = {}
        self._taken: dict[str, int] = {}

    def take(self, caller: str) -> Task | None:
        """Take the caller's next task; None when it has no more."""
        taken = self._taken.get(caller, 0)
        read = self._read.get(caller)
        if read is None:
            read = self._look(caller, self._share)
        elif taken == len(read) == self._share:
            # Others had less than their share.
            read = self._look(caller, self._limit)
        if taken == len(read):
            return None
        self._taken[caller] = taken + 1
        return read[taken]

    def weight(self, caller: str) -> int:
        """How long the caller's turn is: its weight at the endpoint of the task that begins it."""
        task = self._read[caller][self._taken[caller] - 1]
        operation = self._uow.operation(task.key)
        endpoint = None if operation is None else self._uow.endpoint(operation.endpoint)
        return 1 if endpoint is None else endpoint.weight_of(caller)

    def _look(self, caller: str, most: int) -> Sequence[Task]:
        read = self._read[caller] = self._uow.ready_tasks(self._queue, caller, self._now, most)
        return read


def _audit_dispatch(uow: UnitOfWork, operation: Operation, session: WorkerSession, now: datetime) -> None:
    """Record that a task went to a session."""
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=GATEWAY,
            happening=TaskDispatched(
                operation=ref(operation),
                attempt=operation.attempt,
                session_id=session.session_id,
                worker=session.identity,
            ),
        ),
    )


def leased_to(session: WorkerSession, endpoint: Endpoint | None) -> Leased:
    """Return that a session takes a task; an endpoint may pin the operation to its version."""
    pins = endpoint is not None and endpoint.versions.pin
    return Leased(session_id=session.session_id, version=session.version if pins else "")


def _lease(uow: UnitOfWork, task: Task, session: WorkerSession, now: datetime) -> LeasedTask:
    operation = uow.operation(task.key)
    request = uow.envelope(task.key, EnvelopeSlot.REQUEST)
    if operation is None or request is None:
        # The schema's foreign keys forbid it: better a loud stop than a task that is silently dropped.
        msg = "a task without its operation"
        raise RuntimeError(msg)
    if task.kind is TaskKind.START:
        operation = transition(uow, operation, leased_to(session, uow.endpoint(operation.endpoint)), now)
    else:
        uow.put_task(replace(task, session_id=session.session_id))
    _audit_dispatch(uow, operation, session, now)
    attempt = task.attempt if task.kind is TaskKind.SIGNAL else operation.attempt
    return with_messages(
        uow, replace(task, session_id=session.session_id, attempt=attempt), operation, request
    )


def with_messages(uow: UnitOfWork, task: Task, operation: Operation, request: bytes) -> LeasedTask:
    """Return a task with everything that its worker needs."""
    is_start = task.kind is TaskKind.START
    return LeasedTask(
        task=task,
        operation=operation,
        request=request,
        cancel=uow.envelope(task.key, EnvelopeSlot.CANCEL) if operation.cancel_requested else None,
        started=None if is_start else uow.envelope(task.key, EnvelopeSlot.STARTED),
        details=details_for(uow, operation, task.kind),
        signal=_signal_for(uow, task),
    )


def _signal_for(uow: UnitOfWork, task: Task) -> bytes | None:
    """Return the signal that a task hands over."""
    return uow.signal_envelope(task.key, task.attempt) if task.kind is TaskKind.SIGNAL else None


def details_for(uow: UnitOfWork, operation: Operation, kind: TaskKind) -> bytes | None:
    """Return the heartbeat details that an attempt begins with. Most operations never had a heartbeat."""
    if operation.heartbeat_at is None or kind is not TaskKind.START:
        return None
    return uow.envelope(operation.key, EnvelopeSlot.DETAILS)
