"""What a client does, step by step, without I/O: generators that yield what they need and get it back.

The async and the sync client run the same flows, so both verify the same things in the same order.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message

from isthmus.client.answer import (
    KnownRequest,
    Outcome,
    check_operation_id,
    verify_ending,
    verify_proof,
)
from isthmus.client.errors import KeyDestroyedError, KeyRetiredError, UnverifiedAnswerError
from isthmus.client.large_payloads import Block
from isthmus.client.request import (
    Caller,
    Prepared,
    seal_cancel,
)
from isthmus.envelope.errors import KeyUnavailableError, MissingKey
from isthmus.envelope.expected import VerifiedKeys
from isthmus.envelope.seal import RecipientKey, in_header_order
from isthmus.keys.directory import ANY_NEWER_KEY
from isthmus.keys.errors import TrustError
from isthmus.transport.errors import DeadlineExceededError
from isthmus.v1 import envelope_pb2, operation_pb2, operation_service_pb2
from isthmus.wire.header import Header
from isthmus.wire.names import OperationId, format_operation_id

WAIT_MS: Final = 60_000
"""How long one wait asks the gateway to hold the call; the gateway caps it."""
START_TIMEOUT_SECONDS: Final = 60.0
"""How long a start, a cancel or a look at an operation is tried."""
_GRACE_SECONDS: Final = 90.0
_REFRESH_PAUSES_SECONDS: Final = (0.0, 1.0, 4.0, 10.0, 20.0)
"""New keys are looked for again after these: a directory asks the gateway at most every 30 seconds."""

T = TypeVar("T")


class PeerKeys(VerifiedKeys, Protocol):
    """A verified keyset of another namespace: verifies what it signs, and seals to it."""

    def sealing_key(self) -> RecipientKey:
        """Return the key to seal to. Raises NoSealingKeyError."""
        ...


class Send(NamedTuple):
    """Make a call; the answer is a SessionReply. GatewayErrors are thrown into the flow."""

    call: operation_service_pb2.SessionCall
    timeout_seconds: float
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Make a unary call that no session carries, repeated while that makes sense; the answer is its response.

    ``stub`` makes the service's stub of a channel. GatewayErrors are thrown into the flow.
    """

    stub: Callable[[Any], object]
    method: str
    request: Message
    timeout_seconds: float


class FetchKeys(NamedTuple):
    """Get the verified keyset of a namespace; the answer is a PeerKeys.

    ``key_id`` is a key that should be in it: the keyset at hand is not enough when it is not.
    """

    namespace: str
    key_id: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRecord:
    """Get what the owner of an endpoint signed about it, verified; the answer is a KnownRecord.

    With ``newest`` the gateway is asked, whatever is at hand.
    """

    namespace: str
    endpoint: str
    newest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FindOwner:
    """Ask the gateway which namespace an endpoint belongs to; for trust on first use only."""

    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshKeys:
    """Read the keyring again, and go by what the namespace's newest keyset says. Fails no flow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait."""

    seconds: float


Effect = Send | Ask | FetchKeys | FetchRecord | FindOwner | RefreshKeys | Pause | Block
Flow = Generator[Effect, Any, T]
# Named, because the annotations of an inner function are evaluated each time that it is defined.
_Done = Flow[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time, injected. ``now_ms`` is Unix milliseconds, ``monotonic`` seconds."""

    now_ms: Callable[[], int]
    monotonic: Callable[[], float]


class Started(NamedTuple):
    """An operation that certainly exists and certainly is the one that was asked for."""

    request: KnownRequest
    outcome: Outcome | None
    """How it ended, when it had by then."""
    generation: int | None = None
    """The how manieth operation under its request id; None when only its own id was given."""

    @property
    def operation_id(self) -> OperationId:
        """Identity of the operation."""
        return self.request.header.operation_id


def with_current_keys(namespace: str, attempt: Callable[[PeerKeys], Flow[T]]) -> Flow[T]:
    """Seal and send; seal again with fresh keys when one went out of use between look-up and arrival."""
    for pause_seconds in _REFRESH_PAUSES_SECONDS:
        keys = yield FetchKeys(namespace=namespace)
        try:
            return (yield from attempt(keys))
        except KeyRetiredError:
            yield from _look_for_new_keys(namespace, pause_seconds)
    keys = yield FetchKeys(namespace=namespace)
    return (yield from attempt(keys))


def _look_for_new_keys(namespace: str, pause_seconds: float, key_id: bytes = ANY_NEWER_KEY) -> Flow[None]:
    if pause_seconds:
        yield Pause(seconds=pause_seconds)
    yield RefreshKeys()
    yield FetchKeys(namespace=namespace, key_id=key_id)


def reader_keys(
    caller: Caller, endpoint: str, readers: Sequence[str], *, newest: bool = False
) -> Flow[tuple[RecipientKey, ...]]:
    """Return the keys of namespaces that read along; ``newest`` fetches their keysets again.

    Raises:
        RecipientError: nobody here consented to one of them; nothing is to be sealed.
        KeysError: the keyset of one of them is refused.
    """
    keys: list[RecipientKey] = []
    for namespace in readers:
        if namespace == caller.namespace:
            keys.append(RecipientKey(namespace=namespace, key=caller.keyring.sealing_key()))
            continue
        caller.pins.require_recipient(namespace, endpoint)
        keyset: PeerKeys = yield FetchKeys(namespace=namespace, key_id=ANY_NEWER_KEY if newest else None)
        keys.append(keyset.sealing_key())
    return tuple(keys)


def recipients_of(caller: Caller, request: Header, keys: PeerKeys) -> Flow[tuple[RecipientKey, ...]]:
    """Return whom a further message about a request is sealed to: the recipients of the request.

    ``keys`` are those of its handler. Raises as ``reader_keys``.
    """
    recipient = keys.sealing_key()
    if len(request.recipients) == 1:
        return (recipient,)
    readers = [namespace for namespace in request.recipients if namespace != request.recipient_namespace]
    # Few messages: that their keys are the newest is worth a look each time.
    return in_header_order(
        recipient, (yield from reader_keys(caller, request.endpoint, readers, newest=True))
    )


def pinned_owner(caller: Caller, endpoint: str) -> Flow[str]:
    """Return the namespace that an endpoint is pinned to. Raises TrustError."""
    try:
        return caller.pins.namespace_of_endpoint(endpoint)
    except TrustError:
        if not caller.trust_on_first_use:
            raise
    namespace = yield FindOwner(endpoint=endpoint)
    yield FetchKeys(namespace=namespace)  # pins the namespace
    caller.pins.add_endpoint_on_first_use(namespace, endpoint)
    return caller.pins.namespace_of_endpoint(endpoint)


def find_flow(caller: Caller, operation_id: OperationId, clock: Clock) -> Flow[Started]:
    """Take up an operation of this namespace again, from any process, and verify that it is one."""
    status = yield from look(operation_id)
    request = yield from known_request(caller, status.request, operation_id, clock)
    outcome = None
    if status.HasField("ending"):
        outcome = yield from verified_outcome(caller, status, request, clock)
    return Started(request=request, outcome=outcome)


def outcome_flow(
    caller: Caller, request: KnownRequest, clock: Clock, *, timeout_seconds: float
) -> Flow[Outcome]:
    """Wait for the end of an operation.

    Raises:
        DeadlineExceededError: the time was over first; the operation goes on.
    """
    deadline = clock.monotonic() + timeout_seconds
    operation_id = request.header.operation_id
    while True:
        left_seconds = deadline - clock.monotonic()
        if left_seconds <= 0:
            shown = format_operation_id(operation_id)
            raise DeadlineExceededError(f"{shown} did not end within {timeout_seconds:g} s").of_operation()
        wait = operation_service_pb2.WaitOperationRequest(
            operation_id=operation_id, wait_ms=min(WAIT_MS, int(left_seconds * 1000))
        )
        reply = yield Send(
            call=operation_service_pb2.SessionCall(wait=wait), timeout_seconds=left_seconds + 1.0
        )
        status = reply.wait.status
        check_operation_id(status, operation_id)
        if status.HasField("ending"):
            return (yield from verified_outcome(caller, status, request, clock))


def cancel_flow(caller: Caller, request: KnownRequest, clock: Clock) -> Flow[None]:
    """Ask to cancel an operation: durable once this returns. The handler decides how a running one ends."""

    def attempt(keys: PeerKeys) -> _Done:
        recipients = yield from recipients_of(caller, request.header, keys)
        sealed = seal_cancel(
            caller, request.header, request.digest, recipients=recipients, now_ms=clock.now_ms()
        )
        call = operation_service_pb2.SessionCall()
        call.cancel.envelope = sealed.envelope
        reply = yield Send(call=call, timeout_seconds=START_TIMEOUT_SECONDS, size_bytes=len(sealed.envelope))
        check_operation_id(reply.cancel.status, request.header.operation_id)

    yield from with_current_keys(request.header.recipient_namespace, attempt)


def describe_flow(
    operation_id: OperationId, *, wait: timedelta | None = None
) -> Flow[operation_pb2.Operation]:
    """Ask the gateway where an operation is in its life: its word only, signed by nobody else."""
    get = operation_service_pb2.GetOperationRequest(operation_id=operation_id)
    timeout_seconds = START_TIMEOUT_SECONDS if wait is None else wait.total_seconds()
    reply = yield Send(call=operation_service_pb2.SessionCall(get=get), timeout_seconds=timeout_seconds)
    operation: operation_pb2.Operation = reply.get.operation
    return operation


def look(operation_id: OperationId) -> Flow[operation_pb2.OperationStatus]:
    """Ask for an operation of this namespace, with the proof of its request."""
    wait = operation_service_pb2.WaitOperationRequest(operation_id=operation_id, include_request=True)
    reply = yield Send(
        call=operation_service_pb2.SessionCall(wait=wait), timeout_seconds=START_TIMEOUT_SECONDS
    )
    status: operation_pb2.OperationStatus = reply.wait.status
    check_operation_id(status, operation_id)
    return status


def known_request(
    caller: Caller,
    proof: envelope_pb2.RequestProof,
    operation_id: OperationId,
    clock: Clock,
    *,
    prepared: Prepared | None = None,
) -> Flow[KnownRequest]:
    """Verify the request that an answer shows; once more after a refresh when its key is new."""
    yield from ()
    for attempt in (1, 2):
        try:
            return verify_proof(
                proof,
                caller=caller,
                operation_id=operation_id,
                now_ms=clock.now_ms(),
                known_target=None if prepared is None else prepared.sealed.header,
                fingerprint=None if prepared is None else prepared.fingerprint,
            )
        except KeyUnavailableError:
            if attempt == 2 or not caller.keyring.refresh():  # noqa: PLR2004
                raise
    raise AssertionError


def verified_outcome(
    caller: Caller, status: operation_pb2.OperationStatus, request: KnownRequest, clock: Clock
) -> Flow[Outcome]:
    """Verify an ending; again after a refresh when a key is new here."""

    def verify(keys: VerifiedKeys) -> Outcome:
        return verify_ending(status, request, caller=caller, handler_keys=keys, now_ms=clock.now_ms())

    return (yield from with_newest_keys(request, verify, what="the outcome"))


def with_newest_keys(request: KnownRequest, verify: Callable[[VerifiedKeys], T], *, what: str) -> Flow[T]:
    """Verify something that the handler of a request sealed; again after a refresh when a key is new here."""
    header = request.header
    return verified_with_newest_keys(
        header.recipient_namespace,
        verify,
        shown=lambda: format_operation_id(header.operation_id),
        what=what,
    )


def verified_with_newest_keys(
    namespace: str, verify: Callable[[VerifiedKeys], T], *, shown: Callable[[], str], what: str
) -> Flow[T]:
    """Verify something that a namespace sealed; again after a refresh when a key is new here.

    ``shown`` returns what errors call the operation.
    """
    for pause_seconds in (*_REFRESH_PAUSES_SECONDS, None):
        keys = yield FetchKeys(namespace=namespace)
        try:
            return verify(keys)
        except KeyUnavailableError as error:
            if error.permanent or pause_seconds is None:
                if error.permanent and error.which is MissingKey.RECIPIENT_ENCRYPTION:
                    raise KeyDestroyedError(shown(), what, error.key_id.hex()) from error
                raise UnverifiedAnswerError(shown(), what) from error
            yield from _look_for_new_keys(namespace, pause_seconds, error.key_id)
    raise AssertionError
