"""How an operation starts: the one under a request id, or the next generation of it. Generators, without I/O.

A new generation needs an attested failure of the one before: the handler's namespace signed that it failed.
What only the gateway says (terminated, timed out, canceled before dispatch) permits nothing, nor does a
failure that does not verify. Ids of generations are derived, so those who restart at the same time mean the
same operation: one of them creates it, the others attach.
"""

from typing import Final

from isthmus.blobs.claim_checks import Content
from isthmus.client.answer import KnownRequest, check_operation_id
from isthmus.client.contexts import seal_context
from isthmus.client.errors import (
    AlreadyExistsError,
    DeadlineExceededError,
    EndpointRecordChangedError,
    InvalidRequestError,
    NotFoundError,
    OperationExpiredError,
)
from isthmus.client.flows import (
    START_TIMEOUT_SECONDS,
    WAIT_MS,
    Clock,
    FetchRecord,
    Flow,
    PeerKeys,
    Send,
    Started,
    find_flow,
    known_request,
    look,
    outcome_flow,
    pinned_owner,
    reader_keys,
    verified_outcome,
    with_current_keys,
)
from isthmus.client.large_payloads import packed_input
from isthmus.client.operation_spec import OperationSpec
from isthmus.client.request import (
    Caller,
    Prepared,
    StartOptions,
    milliseconds,
    operation_id_of,
    seal_request,
)
from isthmus.envelope.identity import random_operation_id
from isthmus.envelope.seal import RecipientKey
from isthmus.keys.endpoint_records import KnownRecord
from isthmus.v1 import operation_pb2, operation_service_pb2
from isthmus.wire.names import format_operation_id

_GRACE_SECONDS: Final = 90.0
# So many generations in a row that are not kept any more: what a gateway says of them is not proven.
_MOST_EXPIRED: Final = 100
# Named, because the annotations of an inner function are evaluated each time that it is defined.
_Sent = Flow[tuple[Prepared, operation_pb2.OperationStatus]]


def start_flow(
    caller: Caller, spec: OperationSpec, content: Content, options: StartOptions, clock: Clock, *, wait: bool
) -> Flow[Started]:
    """Start an operation, or attach to the one that exists under the id; with ``wait``, see it end.

    Raises:
        AlreadyExistsError, ConflictError and other errors of the gateway; UnverifiedAnswerError; TrustError;
            BlobError and OSError when the content goes through an object store.
    """
    owner = yield from pinned_owner(caller, spec.endpoint)
    known = caller.records.at_hand(owner, spec.endpoint)
    if known is None:
        known = yield FetchRecord(namespace=owner, endpoint=spec.endpoint)
    if options.reuse_policy != "restart_if_failed":
        started, _ = yield from _start_generation(
            caller, spec, content, options, clock, known=known, generation=1, wait=wait
        )
        return started
    started = yield from _restart(caller, spec, content, options, clock, known=known)
    if not wait or started.outcome is not None:
        return started
    outcome = yield from outcome_flow(caller, started.request, clock, timeout_seconds=_life_seconds(options))
    return started._replace(outcome=outcome)


def _restart(
    caller: Caller,
    spec: OperationSpec,
    content: Content,
    options: StartOptions,
    clock: Clock,
    *,
    known: KnownRecord,
) -> Flow[Started]:
    """Attach to the newest generation, or start the next one if that one had failed by now.

    Without waiting: an operation that runs now and fails later is no reason to start another one.
    """
    generation = 1
    while True:
        try:
            started, created = yield from _start_generation(
                caller, spec, content, options, clock, known=known, generation=generation, wait=False
            )
        except OperationExpiredError:
            # Nobody can prove any more how it ended. But if this namespace signed the next generation, it had
            # the proof then.
            later = yield from _known_generation(caller, spec, options, clock, first=generation + 1)
            if later is None:
                raise
            generation = later
            continue
        failed = started.outcome is not None and started.outcome.attested_failure
        if created or not failed:
            return started
        generation += 1


def _known_generation(
    caller: Caller, spec: OperationSpec, options: StartOptions, clock: Clock, *, first: int
) -> Flow[int | None]:
    """Return the first generation from ``first`` on that is still kept and that this namespace signed."""
    for generation in range(first, first + _MOST_EXPIRED):
        operation_id = operation_id_of(caller, spec, options.id or "", generation=generation)
        try:
            yield from find_flow(caller, operation_id, clock)
        except NotFoundError:
            return None
        except OperationExpiredError:
            continue
        return generation
    return None


def _start_generation(
    caller: Caller,
    spec: OperationSpec,
    content: Content,
    options: StartOptions,
    clock: Clock,
    *,
    known: KnownRecord,
    generation: int,
    wait: bool,
) -> Flow[tuple[Started, bool]]:
    """Start one generation; tell whether it was this very start that created it."""
    operation_id = random_operation_id()
    if options.id is not None:
        operation_id = operation_id_of(caller, spec, options.id, generation=generation)
    packed = yield from packed_input(
        caller,
        spec,
        content,
        options,
        recipient=known.namespace,
        operation_id=operation_id,
        now_ms=clock.now_ms(),
    )
    followed, is_first = known, True
    life_seconds = _life_seconds(options)
    timeout_seconds = life_seconds if wait else min(START_TIMEOUT_SECONDS, life_seconds)

    def attempt(keys: PeerKeys) -> _Sent:
        nonlocal followed, is_first
        readers: tuple[RecipientKey, ...] = ()
        if followed.required_recipients:
            readers = yield from reader_keys(
                caller, spec.endpoint, followed.required_recipients, newest=not is_first
            )
        is_first = False
        prepared = seal_request(
            caller,
            spec,
            packed.payload,
            options,
            recipient=keys.sealing_key(),
            now_ms=clock.now_ms(),
            operation_id=operation_id,
            fingerprint=packed.fingerprint,
            readers=readers,
            contract_hash=followed.contract_hash,
        )
        envelope = prepared.sealed.envelope
        context = b"" if options.context is None else seal_context(caller, options.context, prepared)
        call = _start_call(envelope, context, options, wait=wait)
        size_bytes = len(envelope) + len(context)
        try:
            reply = yield Send(call=call, timeout_seconds=timeout_seconds, size_bytes=size_bytes)
        except EndpointRecordChangedError:
            followed = yield FetchRecord(namespace=known.namespace, endpoint=spec.endpoint, newest=True)
            raise
        except AlreadyExistsError:
            return prepared, (yield from _created_by_lost_answer(caller, prepared, clock))
        except InvalidRequestError as error:
            if error.reason == "MESSAGE_EXPIRED" and clock.now_ms() >= prepared.sealed.header.expires_at_ms:
                # Repeated for as long as the operation may take, and never answered.
                msg = f"{format_operation_id(prepared.operation_id)} was not acknowledged within its timeout"
                raise DeadlineExceededError(msg).of_operation() from error
            raise
        return prepared, reply.execute.status if wait else reply.start.status

    prepared, status = yield from with_current_keys(known.namespace, attempt)
    return (
        yield from _accept(
            caller,
            prepared,
            status,
            clock,
            generation=None if options.id is None else generation,
            timeout_seconds=timeout_seconds,
            wait=wait,
        )
    )


def _life_seconds(options: StartOptions) -> float:
    return milliseconds(options.schedule_to_close_timeout) / 1000 + _GRACE_SECONDS


def _start_call(
    envelope: bytes, context: bytes, options: StartOptions, *, wait: bool
) -> operation_service_pb2.SessionCall:
    policy = operation_service_pb2.REUSE_POLICY_ATTACH
    if options.reuse_policy == "reject":
        policy = operation_service_pb2.REUSE_POLICY_REJECT
    call = operation_service_pb2.SessionCall()
    if wait:
        execute = call.execute
        execute.wait_ms = WAIT_MS
        start_request = execute.start
    else:
        start_request = call.start
    start_request.envelope = envelope
    start_request.reuse_policy = policy
    if context:
        start_request.context = context
    return call


def _created_by_lost_answer(
    caller: Caller, prepared: Prepared, clock: Clock
) -> Flow[operation_pb2.OperationStatus]:
    """Tell a stranger's operation from one's own, whose answer was lost before the start was repeated."""
    status = yield from look(prepared.operation_id)
    known = yield from known_request(caller, status.request, prepared.operation_id, clock)
    if known.digest != prepared.sealed.digest:
        raise AlreadyExistsError(
            f"{format_operation_id(prepared.operation_id)} exists under this id", reason="ALREADY_EXISTS"
        ).of_operation()
    return status


def _accept(
    caller: Caller,
    prepared: Prepared,
    status: operation_pb2.OperationStatus,
    clock: Clock,
    *,
    generation: int | None,
    timeout_seconds: float,
    wait: bool,
) -> Flow[tuple[Started, bool]]:
    check_operation_id(status, prepared.operation_id)
    request = KnownRequest(header=prepared.sealed.header, digest=prepared.sealed.digest)
    if status.attached:
        request = yield from known_request(
            caller, status.request, prepared.operation_id, clock, prepared=prepared
        )
    created = request.digest == prepared.sealed.digest
    if status.HasField("ending"):
        outcome = yield from verified_outcome(caller, status, request, clock)
        return Started(request=request, outcome=outcome, generation=generation), created
    if not wait:
        return Started(request=request, outcome=None, generation=generation), created
    outcome = yield from outcome_flow(caller, request, clock, timeout_seconds=timeout_seconds)
    return Started(request=request, outcome=outcome, generation=generation), created
