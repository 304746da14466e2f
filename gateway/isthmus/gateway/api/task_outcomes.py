"""What workers say about their tasks, checked and recorded."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from isthmus.gateway.api.sealed_answers import SealedAnswers
from isthmus.gateway.api.status import status_bytes
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.end_attempt import (
    FailedAttempt,
    cancel_delivered,
    check_current,
    end_attempt,
    retry_delivery,
    return_task,
    signal_delivered,
)
from isthmus.gateway.commands.record_outcome import (
    SealedOutcome,
    check_answers,
    handled_operation,
    record_outcome,
)
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.core.operation import KEY_UNAVAILABLE, AttemptEnd, OperationKey
from isthmus.gateway.core.retry import RetryPolicy
from isthmus.gateway.ports import Clock, Command, Randomness, Store, TaskKind, UnitOfWork
from isthmus.v1 import worker_service_pb2
from isthmus.wire.envelope import SealedEnvelope
from isthmus.wire.header import OUTCOMES, Direction
from isthmus.wire.names import check_namespace, check_operation_id

_ENDS_ATTEMPT = OUTCOMES | {Direction.STARTED}
_FAILURE = frozenset({Direction.FAILURE})
_REJECTIONS = frozenset({"E2E_REJECTED", KEY_UNAVAILABLE})
MAX_ERROR_TYPE_CHARS = 64
NO_DELAY = timedelta(0)
TOKEN_KEY_BYTES = 32
MAX_RETRY_DELAY = timedelta(days=1)
# A cancel or a signal that the handler could not take is offered again with this much patience, whatever the
# endpoint says about starts: it must arrive while the operation still runs.
DELIVERY_RETRY = RetryPolicy(max_interval=timedelta(minutes=1))
SIGNAL_TRIES = 3
DELIVERIES: Mapping[int, TaskKind] = {
    worker_service_pb2.TASK_KIND_CANCEL: TaskKind.CANCEL,
    worker_service_pb2.TASK_KIND_SIGNAL: TaskKind.SIGNAL,
}

Ref = worker_service_pb2.TaskRef
Refusal = BaseException | None
"""Why an outcome is refused; None when it is recorded."""
RecordCommand = Command[Refusal]
"""Records an outcome; returns why it is refused although something, that it came late, is on record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An outcome that passed every check: what records it, and the operation that it is about."""

    command: RecordCommand
    key: OperationKey


class TaskOutcomes:
    """Records outcomes of the handler's side."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        randomness: Randomness,
        answers: SealedAnswers,
    ) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._answers = answers

    async def acknowledge(
        self, principal: Principal, outcome: worker_service_pb2.TaskOutcome
    ) -> worker_service_pb2.OutcomeAck:
        """Record what came of a task; the acknowledgement says whether that is durable."""
        try:
            prepared = await self.prepare(principal, outcome)
            refusal = await self._store.transact(prepared.command, reads=(prepared.key,))
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
            refusal = error
        return acknowledgement(outcome.task, refusal)

    def record_all(self, outcomes: Sequence[Prepared]) -> "asyncio.Future[list[Refusal]]":
        """Record outcomes together, each for itself.

        Raises:
            GatewayError: as Store.submit_all; nothing is recorded.
        """
        return self._store.submit_all(
            [outcome.command for outcome in outcomes], reads=[outcome.key for outcome in outcomes]
        )

    async def prepare(self, principal: Principal, outcome: worker_service_pb2.TaskOutcome) -> Prepared:
        """Check what a worker says of a task; return the command that records it.

        Raises:
            WireFormatError, GatewayError: it is refused, and nothing is to be recorded.
        """
        task = outcome.task
        key = key_of(task)
        match outcome.WhichOneof("outcome"):
            case "envelope":
                command = await self._completion(
                    principal, key, outcome.envelope, attempt=task.attempt, token_key=outcome.token_key
                )
            case "retry":
                command = await self._retry(principal, key, task, outcome.retry)
            case "rejection":
                code = outcome.rejection.code
                if code not in _REJECTIONS:
                    raise InvalidRequestError("the rejection code is unknown", reason="UNKNOWN_REJECTION")
                command = self._end(principal, key, task, AttemptEnd.REJECTED, code)
            case "cancel_delivered":
                command = _quiet(lambda uow: cancel_delivered(uow, key, principal.actor))
            case "signal_delivered":
                command = self._signal_delivered(principal, key, task)
            case "returned":
                command = self._return(principal, key, task)
            case _:
                raise InvalidRequestError("the outcome is empty or unknown", reason="UNKNOWN_OUTCOME")
        return Prepared(command=command, key=key)

    async def complete(
        self,
        principal: Principal,
        key: OperationKey,
        envelope: bytes,
        *,
        directions: frozenset[Direction],
    ) -> None:
        """Record a sealed outcome, from whichever process.

        Raises:
            WireFormatError, GatewayError: it is refused; a late one is on record as such.
        """
        command = await self._completion(principal, key, envelope, directions=directions)
        refusal = await self._store.transact(command, reads=(key,))
        if refusal is not None:
            raise refusal

    async def _completion(
        self,
        principal: Principal,
        key: OperationKey,
        envelope: bytes,
        *,
        attempt: int = 0,
        directions: frozenset[Direction] = _ENDS_ATTEMPT,
        token_key: bytes = b"",
    ) -> RecordCommand:
        sealed = await self._answers.check(principal, envelope, directions)
        if token_key:
            check_token_key(token_key)
            if sealed.header.direction is not Direction.STARTED:
                raise InvalidRequestError("a token key goes with an asynchronous start", reason="TOKEN_KEY")
        outcome = SealedOutcome(
            key=key,
            header=sealed.header,
            envelope=envelope,
            digest=sealed.digest,
            actor=principal.actor,
            attempt=attempt,
            token_key=token_key,
        )
        clock = self._clock
        return lambda uow: record_outcome(uow, outcome, now=clock.now()).refusal

    async def _retry(
        self,
        principal: Principal,
        key: OperationKey,
        task: Ref,
        retry: worker_service_pb2.RetryableFailure,
    ) -> RecordCommand:
        error_type = retry.error_type
        if not 0 < len(error_type) <= MAX_ERROR_TYPE_CHARS or not error_type.isprintable():
            raise InvalidRequestError(
                "the error type is empty or too long",
                reason="ERROR_TYPE",
                fix="name the type of the error in a word, as Nexus does",
            )
        sealed = None
        if retry.envelope:
            sealed = await self._answers.check(principal, retry.envelope, _FAILURE)
        delay = min(timedelta(milliseconds=retry.next_attempt_delay_ms), MAX_RETRY_DELAY)
        return self._end(
            principal,
            key,
            task,
            AttemptEnd.FAILED,
            error_type,
            failure=retry.envelope,
            sealed=sealed,
            min_delay=delay,
        )

    def _end(
        self,
        principal: Principal,
        key: OperationKey,
        task: Ref,
        end: AttemptEnd,
        error: str,
        *,
        failure: bytes = b"",
        sealed: SealedEnvelope | None = None,
        min_delay: timedelta = NO_DELAY,
    ) -> RecordCommand:
        kind = DELIVERIES.get(task.kind)
        if kind is not None:
            # How often a signal was tried nobody counts.
            tries = task.attempt if kind is TaskKind.CANCEL else SIGNAL_TRIES
            delay = max(min_delay, DELIVERY_RETRY.delay(max(tries, 1), self._randomness.jitter()))
            return self._retry_delivery(principal, key, kind, delay)
        failed = FailedAttempt(
            key=key,
            attempt=task.attempt,
            end=end,
            error=error,
            actor=principal.actor,
            failure=failure,
            failure_digest=b"" if sealed is None else sealed.digest,
            min_delay=min_delay,
        )
        return _quiet(_ending(failed, sealed, clock=self._clock, jitter=self._randomness.jitter()))

    def _return(self, principal: Principal, key: OperationKey, task: Ref) -> RecordCommand:
        kind = DELIVERIES.get(task.kind)
        if kind is not None:
            return self._retry_delivery(principal, key, kind, NO_DELAY)
        actor, attempt, clock = principal.actor, task.attempt, self._clock
        return _quiet(lambda uow: return_task(uow, key, attempt, actor, now=clock.now()))

    def _retry_delivery(
        self, principal: Principal, key: OperationKey, kind: TaskKind, delay: timedelta
    ) -> RecordCommand:
        actor, clock = principal.actor, self._clock
        return _quiet(lambda uow: retry_delivery(uow, key, kind, actor, now=clock.now(), delay=delay))

    def _signal_delivered(self, principal: Principal, key: OperationKey, task: Ref) -> RecordCommand:
        actor, number, clock = principal.actor, task.attempt, self._clock
        return _quiet(lambda uow: signal_delivered(uow, key, number, actor, now=clock.now()))


def acknowledgement(task: Ref, refusal: Refusal) -> worker_service_pb2.OutcomeAck:
    """Return what a worker gets to know about its outcome."""
    if refusal is None:
        return worker_service_pb2.OutcomeAck(task=task)
    return worker_service_pb2.OutcomeAck(task=task, error=status_bytes(refusal))


def _quiet(command: Callable[[UnitOfWork], object]) -> RecordCommand:
    """Return the command with nothing to refuse once it is committed."""

    def quiet(uow: UnitOfWork) -> None:
        command(uow)

    return quiet


def _ending(
    failed: FailedAttempt, sealed: SealedEnvelope | None, *, clock: Clock, jitter: float
) -> Callable[[UnitOfWork], Any]:
    def command(uow: UnitOfWork) -> None:
        if sealed is not None:
            # With its attempts used up, this failure may become the outcome: it has to answer this request.
            operation = handled_operation(uow, failed.key, failed.actor.namespace)
            check_current(operation, failed.attempt)
            check_answers(operation, sealed.header)
        end_attempt(uow, failed, now=clock.now(), jitter=jitter)

    return command


def key_of(task: Ref) -> OperationKey:
    """Return the operation of a task. Raises WireFormatError."""
    return OperationKey(
        caller=check_namespace(task.caller_namespace), operation_id=check_operation_id(task.operation_id)
    )


def check_token_key(token_key: bytes) -> bytes:
    """Return the keyed hash of a token. Raises InvalidRequestError when it can be none."""
    if len(token_key) != TOKEN_KEY_BYTES:
        raise InvalidRequestError(f"a token key has {TOKEN_KEY_BYTES} bytes", reason="TOKEN_KEY")
    return token_key
