"""Where many operations are, asked at once and verified one by one. Generators, without I/O.

Each is held to what ``wait`` holds it to, but for its result, which is not fetched: this namespace must have
signed the request, and the handler's namespace the outcome, or the gateway's statement must be borne out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from isthmus.client.answer import KnownRequest, Outcome, answer_expected, is_canceled, outcome_of_statement
from isthmus.client.description import public_state
from isthmus.client.errors import UnprovenOutcomeError, UnverifiedAnswerError
from isthmus.client.flows import (
    START_TIMEOUT_SECONDS,
    Ask,
    Clock,
    Flow,
    Pause,
    known_request,
    with_newest_keys,
)
from isthmus.client.request import Caller
from isthmus.envelope.errors import EnvelopeError, EnvelopeRejectedError
from isthmus.envelope.expected import VerifiedKeys
from isthmus.envelope.outcome_proof import verify_outcome_proof
from isthmus.keys.errors import TrustError
from isthmus.v1 import operation_pb2, operation_service_pb2, operation_service_pb2_grpc
from isthmus.wire.header import Direction
from isthmus.wire.names import OperationId, format_operation_id

MOST_IN_ONE_CALL: Final = 256
Status = Literal["running", "succeeded", "failed", "canceled", "expired", "unknown", "unproven", "unverified"]
_DIRECTIONS: Final[dict[Direction, Status]] = {
    Direction.RESULT: "succeeded",
    Direction.FAILURE: "failed",
    Direction.CANCELED: "canceled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationStatus:
    """Where one of many operations is. An ending is verified like that of ``wait``, without its result."""

    operation_id: str
    status: Status
    """``running``, ``expired`` and ``unknown`` are the gateway's word. ``succeeded``, ``failed`` and
    ``canceled`` are proven. ``unproven``: only the gateway says that it ended. ``unverified``: what the
    gateway shows does not verify here."""
    attested: bool = False
    """Whether the handler's namespace signed the ending."""
    state: str = ""
    """As the gateway names it: ``scheduled``, ``parked``, ``timed_out`` …; empty unless it keeps it."""
    error: Exception | None = None
    """Why it is unproven or unverified, or what ended it if that was not its handler."""

    @property
    def ended(self) -> bool:
        """Whether it certainly ended, with an outcome that can be fetched or with none."""
        return self.status in {"succeeded", "failed", "canceled"}


def statuses_flow(
    caller: Caller, operation_ids: Sequence[OperationId], clock: Clock
) -> Flow[list[OperationStatus]]:
    """Return where operations of this namespace are, in the order in which they are asked for.

    Raises:
        GatewayError: the gateway does not answer.
        UnverifiedAnswerError: the gateway answers nothing.
    """
    found: dict[OperationId, OperationStatus] = {}
    left = list(dict.fromkeys(operation_ids))
    while left:
        asked = left[:MOST_IN_ONE_CALL]
        response: operation_service_pb2.BatchGetOperationStatusesResponse = yield Ask(
            stub=operation_service_pb2_grpc.OperationServiceStub,
            method="BatchGetOperationStatuses",
            request=operation_service_pb2.BatchGetOperationStatusesRequest(operation_ids=asked),
            timeout_seconds=START_TIMEOUT_SECONDS,
        )
        if not 0 < len(response.statuses) <= len(asked):
            raise UnverifiedAnswerError(format_operation_id(asked[0]), "the answer")
        for operation_id, brief in zip(asked, response.statuses, strict=False):
            found[operation_id] = yield from _verified(caller, operation_id, brief, clock)
            # Signatures take their time: whoever else runs here gets a turn.
            yield Pause(seconds=0)
        left = left[len(response.statuses) :]
    return [found[operation_id] for operation_id in operation_ids]


def _verified(
    caller: Caller, operation_id: OperationId, brief: operation_service_pb2.BriefStatus, clock: Clock
) -> Flow[OperationStatus]:
    shown = format_operation_id(operation_id)
    if brief.operation_id != operation_id:
        error = UnverifiedAnswerError(shown, "the answer")
        return OperationStatus(operation_id=shown, status="unverified", error=error)
    try:
        match brief.presence:
            case operation_service_pb2.PRESENCE_EXPIRED:
                return OperationStatus(operation_id=shown, status="expired")
            case operation_service_pb2.PRESENCE_UNKNOWN:
                return OperationStatus(operation_id=shown, status="unknown")
            case _:
                return (yield from _kept(caller, operation_id, brief, clock))
    except (UnverifiedAnswerError, TrustError, EnvelopeError) as refused:
        return OperationStatus(operation_id=shown, status="unverified", error=refused)


def _kept(
    caller: Caller, operation_id: OperationId, brief: operation_service_pb2.BriefStatus, clock: Clock
) -> Flow[OperationStatus]:
    shown = format_operation_id(operation_id)
    request = yield from known_request(caller, brief.request, operation_id, clock)
    name = operation_pb2.OperationState.Name(brief.state)
    state, public = public_state(name)
    status: Status
    match brief.WhichOneof("ending"):
        case None:
            if public != "running":
                raise UnverifiedAnswerError(shown, "the missing outcome")
            return OperationStatus(operation_id=shown, status="running", state=state)
        case "attested":
            status = yield from _attested(caller, brief, request, clock)
            return OperationStatus(operation_id=shown, status=status, attested=True, state=state)
        case "statement":
            outcome = _stated(caller, brief, request, clock)
            return OperationStatus(
                operation_id=shown, status=_status_of(outcome), state=state, error=outcome.error
            )


def _attested(
    caller: Caller, brief: operation_service_pb2.BriefStatus, request: KnownRequest, clock: Clock
) -> Flow[Status]:
    proof = brief.attested
    shown = format_operation_id(request.header.operation_id)

    def verify(keys: VerifiedKeys) -> Status:
        try:
            header = verify_outcome_proof(
                proof.header,
                proof.signature,
                proof.body_digest,
                expected=answer_expected(request, caller),
                sender_keys=keys,
                namespace=caller.namespace,
                now_ms=clock.now_ms(),
            )
        except EnvelopeRejectedError as error:
            raise UnverifiedAnswerError(shown, "the outcome") from error
        return _DIRECTIONS[header.direction]

    return (yield from with_newest_keys(request, verify, what="the outcome"))


def _stated(
    caller: Caller, brief: operation_service_pb2.BriefStatus, request: KnownRequest, clock: Clock
) -> Outcome:
    try:
        return outcome_of_statement(
            brief.statement, brief.cancel, request, caller=caller, now_ms=clock.now_ms()
        )
    except EnvelopeRejectedError as error:
        shown = format_operation_id(request.header.operation_id)
        raise UnverifiedAnswerError(shown, "the outcome") from error


def _status_of(outcome: Outcome) -> Status:
    if outcome.error is None or isinstance(outcome.error, UnprovenOutcomeError):
        return "unproven"
    return "canceled" if is_canceled(outcome.error) else "failed"
