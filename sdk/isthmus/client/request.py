"""What a caller asks: options checked, header filled in, payload sealed. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Protocol, TypedDict

from isthmus.blobs.claim_checks import HOW_TO_CONFIGURE, ClaimChecks
from isthmus.client.errors import ConfigurationError, PayloadTooLargeError
from isthmus.client.operation_spec import OperationSpec
from isthmus.envelope.errors import BodyTooLargeError, NeverSealError
from isthmus.envelope.identity import (
    derive_operation_id,
    fingerprint_of,
    random_message_id,
    random_operation_id,
)
from isthmus.envelope.key_material import SigningPublicKey
from isthmus.envelope.seal import RecipientKey, Sealed, in_header_order, seal
from isthmus.keys.endpoint_records import RecordsAtHand
from isthmus.keys.keyring import Keyring
from isthmus.payload.payload import Payload
from isthmus.wire import limits
from isthmus.wire.header import Direction, Header
from isthmus.wire.names import KeyId, NamespaceName, OperationId

ReusePolicy = Literal["attach", "reject", "restart_if_failed"]
_MILLISECOND: Final = timedelta(milliseconds=1)
_CANCEL_LIFE_MS: Final = 24 * 3600 * 1000


class EndpointPins(Protocol):
    """Which namespace an endpoint belongs to, by local decision: the trust store."""

    def namespace_of_endpoint(self, endpoint: str) -> str:
        """Return the pinned namespace. Raises TrustError."""
        ...

    def add_endpoint_on_first_use(self, namespace: str, endpoint: str) -> None:
        """Pin an endpoint because the gateway said so. Raises TrustError where that is off."""
        ...

    def require_recipient(self, namespace: str, endpoint: str) -> None:
        """Require that a person consented to seal to a namespace besides the two of a call.

        Raises:
            RecipientError: nobody did.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: keys, pins and the identity that the gateway knows this client by."""

    keyring: Keyring
    pins: EndpointPins
    principal: str
    gateway_key: SigningPublicKey
    trust_on_first_use: bool = False
    """Believe the gateway about endpoints that nobody pinned. For development only."""
    records: RecordsAtHand
    """What owners signed about endpoints, where it was fetched lately."""
    claim_checks: ClaimChecks = field(default_factory=ClaimChecks)
    """What carries payloads that are too large for envelopes."""

    @property
    def namespace(self) -> str:
        """The caller's namespace."""
        return self.keyring.namespace


class StartKeywords(TypedDict, total=False):
    """The keyword arguments of start_operation and execute_operation; StartOptions explains them."""

    id: str | None
    reuse_policy: ReusePolicy
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    schedule_to_close_timeout: timedelta
    labels: Mapping[str, str]
    fingerprint: bool
    start_at: datetime | None
    context: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """How an operation is started. Times are durations from now."""

    id: str | None = None
    """The caller's idempotency key. Without it every start is a new operation."""
    reuse_policy: ReusePolicy = "attach"
    """If the id was used before: ``attach`` to the operation, ``reject`` the start, or ``restart_if_failed``:
    the next generation if the handler's team signed that the newest failed, else attach."""
    schedule_to_start_timeout: timedelta | None = None
    """Longest wait for the first worker."""
    start_to_close_timeout: timedelta | None = None
    """Longest life after a worker took it first."""
    schedule_to_close_timeout: timedelta = timedelta(milliseconds=limits.DEFAULT_SCHEDULE_TO_CLOSE_MS)
    """Longest life as a whole, at most 60 days."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Authenticated attributes in clear: the gateway and its policy read them."""
    start_at: datetime | None = None
    """Not before this moment, which knows its time zone. The schedule-to-start timeout counts from then, the
    schedule-to-close timeout from the call: it has to be longer than the wait. A cancel before ends it."""
    fingerprint: bool = True
    """Compare the input when the id is used again. Switch it off when the input's bytes are not stable."""
    context: bytes | None = field(default=None, repr=False)
    """Up to 8 KiB for this namespace alone, kept with the operation: ``handle.contexts()`` returns it."""

    @property
    def compares_input(self) -> bool:
        """Whether a fingerprint of the input travels with it."""
        return self.id is not None and self.fingerprint

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises ConfigurationError."""
        if self.reuse_policy not in {"attach", "reject", "restart_if_failed"}:
            raise ConfigurationError(
                f"reuse_policy is attach, reject or restart_if_failed, not {self.reuse_policy!r}"
            )
        if self.id is None and self.reuse_policy != "attach":
            raise ConfigurationError(f"reuse_policy={self.reuse_policy!r} needs an id")
        if self.id is not None and not 0 < len(self.id.encode()) <= limits.MAX_REQUEST_ID_BYTES:
            raise ConfigurationError(f"an id is 1 to {limits.MAX_REQUEST_ID_BYTES} bytes of UTF-8")
        if self.context is not None and len(self.context) > limits.MAX_CALLER_CONTEXT_BYTES:
            raise ConfigurationError(f"a context is at most {limits.MAX_CALLER_CONTEXT_BYTES} bytes")
        check_duration("schedule_to_start_timeout", self.schedule_to_start_timeout)
        if self.start_at is not None and self.start_at.utcoffset() is None:
            raise ConfigurationError("start_at is a moment that knows its time zone, for example in UTC")
        check_duration("start_to_close_timeout", self.start_to_close_timeout)
        check_duration("schedule_to_close_timeout", self.schedule_to_close_timeout)
        whole_ms = milliseconds(self.schedule_to_close_timeout)
        if not 0 < whole_ms <= limits.MAX_SCHEDULE_TO_CLOSE_MS:
            raise ConfigurationError("schedule_to_close_timeout is more than 0 and at most 60 days")


_KEYWORDS: Final = frozenset(StartKeywords.__annotations__)


def check_duration(name: str, duration: object) -> None:
    """Refuse a number in place of a duration, whose unit nobody knows. Raises ConfigurationError."""
    if duration is not None and not isinstance(duration, timedelta):
        raise ConfigurationError(f"{name} is a timedelta, not {duration!r}")


def start_options(options: StartKeywords, *, method: str) -> StartOptions:
    """Return the options that were given to a method.

    Raises:
        TypeError: one of them does not exist; it names the method that was called.
        ConfigurationError: one of them cannot work.
    """
    if options and (unknown := options.keys() - _KEYWORDS):
        raise TypeError(f"{method}() got an unexpected keyword argument {min(unknown)!r}")
    return StartOptions(**options)


class Prepared(NamedTuple):
    """A request that was sealed for one generation of an operation."""

    sealed: Sealed
    fingerprint: bytes | None
    """What an operation that exists under this id must have been asked with; None: do not compare."""

    @property
    def operation_id(self) -> OperationId:
        """Identity of the operation."""
        return self.sealed.header.operation_id


@lru_cache(maxsize=256)
def milliseconds(duration: timedelta | None) -> int:
    """Return a duration in milliseconds, 0 for None."""
    return 0 if duration is None else -(-duration // _MILLISECOND)


def operation_id_of(
    caller: Caller, spec: OperationSpec, request_id: str, *, generation: int = 1
) -> OperationId:
    """Return the operation id that a request id stands for in the caller's namespace."""
    return derive_operation_id(
        caller.keyring.id_key,
        trust_domain=caller.keyring.trust_domain,
        caller_namespace=caller.namespace,
        endpoint=spec.endpoint,
        service=spec.service,
        operation=spec.operation,
        request_id=request_id,
        generation=generation,
    )


def seal_request(
    caller: Caller,
    spec: OperationSpec,
    payload: Payload,
    options: StartOptions,
    *,
    recipient: RecipientKey,
    now_ms: int,
    operation_id: OperationId | None,
    fingerprint: bytes | None = None,
    readers: Sequence[RecipientKey] = (),
    contract_hash: bytes = b"",
) -> Prepared:
    """Seal a request for the pinned namespace of its endpoint.

    Args:
        caller: who calls.
        spec: what.
        payload: the input.
        options: how.
        recipient: the namespace that the caller's pins name for the endpoint, with its active key.
        now_ms: Unix milliseconds.
        operation_id: derived from the request id; None makes a random one.
        fingerprint: of what a claim check stands for; None: of the payload, where it is to be compared.
        readers: who reads along, as the owner of the endpoint signed and somebody here consented to.
        contract_hash: what the owner signed that both sides speak.

    Raises:
        PayloadTooLargeError: the input is too large.
        ConfigurationError: a name, a timeout or a label breaks the rules of headers.
    """
    keyring = caller.keyring
    signer = keyring.signing_key()
    whole_ms = milliseconds(options.schedule_to_close_timeout)
    if fingerprint is None and options.compares_input:
        fingerprint = fingerprint_of(keyring.id_key, payload)
    recipients = in_header_order(recipient, readers)
    header = Header(
        direction=Direction.REQUEST,
        trust_domain=keyring.trust_domain,
        sender_namespace=NamespaceName(keyring.namespace),
        sender_key_id=signer.key_id,
        principal=caller.principal,
        recipient_namespace=NamespaceName(recipient.namespace),
        endpoint=spec.endpoint,
        service=spec.service,
        operation=spec.operation,
        operation_id=operation_id or random_operation_id(),
        message_id=random_message_id(),
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + whole_ms,
        schedule_to_start_timeout_ms=milliseconds(options.schedule_to_start_timeout),
        start_to_close_timeout_ms=milliseconds(options.start_to_close_timeout),
        schedule_to_close_timeout_ms=whole_ms,
        recipients=tuple([key.namespace for key in recipients]),
        labels=tuple(sorted(options.labels.items())) if options.labels else (),
        contract_hash=contract_hash,
        fingerprint=fingerprint or b"",
        start_at_ms=0 if options.start_at is None else round(options.start_at.timestamp() * 1000),
    )
    try:
        sealed = seal(header, payload, signer=signer, recipients=recipients)
    except BodyTooLargeError as error:
        raise PayloadTooLargeError(f"{error}; {HOW_TO_CONFIGURE}") from None
    except NeverSealError as error:
        raise ConfigurationError(str(error)) from None
    return Prepared(sealed=sealed, fingerprint=fingerprint)


def header_about(
    request: Header,
    direction: Direction,
    *,
    caller: Caller,
    sender_key_id: KeyId,
    request_digest: bytes,
    now_ms: int,
    expires_at_ms: int,
) -> Header:
    """Return the header of a further message of the caller to the recipient of its request."""
    return Header(
        direction=direction,
        trust_domain=request.trust_domain,
        sender_namespace=request.sender_namespace,
        sender_key_id=sender_key_id,
        principal=caller.principal,
        recipient_namespace=request.recipient_namespace,
        endpoint=request.endpoint,
        service=request.service,
        operation=request.operation,
        operation_id=request.operation_id,
        message_id=random_message_id(),
        request_digest=request_digest,
        issued_at_ms=now_ms,
        expires_at_ms=expires_at_ms,
        recipients=request.recipients,
    )


def seal_cancel(
    caller: Caller,
    request: Header,
    request_digest: bytes,
    *,
    recipients: Sequence[RecipientKey],
    now_ms: int,
) -> Sealed:
    """Seal a cancel of a request of one's own. Raises NeverSealError."""
    signer = caller.keyring.signing_key()
    ends_ms = request.issued_at_ms + request.schedule_to_close_timeout_ms
    header = header_about(
        request,
        Direction.CANCEL,
        caller=caller,
        sender_key_id=signer.key_id,
        request_digest=request_digest,
        now_ms=now_ms,
        # It must not expire before what it cancels.
        expires_at_ms=max(now_ms + _CANCEL_LIFE_MS, ends_ms),
    )
    return seal(header, Payload(content_type="", data=b""), signer=signer, recipients=recipients)
