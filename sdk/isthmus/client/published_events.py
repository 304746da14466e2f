"""Events that teams publish for those who may call them, step by step. Generators, without I/O.

An event is sealed once for each reader, so that none learns of the others. Who reads one holds it to what the
feed said of it and to its own pins: the namespace that it trusts for the endpoint must have signed it, for
this very reader, under this very id and name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from isthmus.client.errors import (
    ConfigurationError,
    NotFoundError,
    PayloadTooLargeError,
    UnverifiedAnswerError,
)
from isthmus.client.feed import EventNotice
from isthmus.client.flows import (
    START_TIMEOUT_SECONDS,
    Ask,
    Clock,
    FetchKeys,
    Flow,
    PeerKeys,
    pinned_owner,
    verified_with_newest_keys,
    with_current_keys,
)
from isthmus.client.request import Caller
from isthmus.envelope.errors import (
    BodyTooLargeError,
    EnvelopeError,
    EnvelopeRejectedError,
    NeverSealError,
)
from isthmus.envelope.expected import Expected, VerifiedKeys
from isthmus.envelope.identity import derive_operation_id, random_message_id, random_operation_id
from isthmus.envelope.open import open_envelope
from isthmus.envelope.seal import RecipientKey, Sealed, seal
from isthmus.keys.errors import TrustError
from isthmus.payload.converter import PayloadConverter
from isthmus.payload.payload import Payload
from isthmus.v1 import (
    endpoint_service_pb2,
    endpoint_service_pb2_grpc,
    feed_service_pb2,
    feed_service_pb2_grpc,
)
from isthmus.wire.header import Direction, Header
from isthmus.wire.limits import MAX_REQUEST_ID_BYTES
from isthmus.wire.names import (
    EVENT_SERVICE,
    NamespaceName,
    OperationId,
    check_endpoint,
    check_namespace,
    check_service,
)

MAX_EVENT_BYTES: Final = 56 * 1024
"""Largest serialized value of an event: sealed and padded it fits into a small envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishInput:
    """An event that is to be published."""

    endpoint: str
    name: str
    value: object = field(repr=False)
    """Not yet serialized nor sealed: it does not belong in logs."""
    id: str | None
    readers: tuple[str, ...] | None
    """None: everybody on the endpoint's allow list whom this namespace trusts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """An event that is on disk, for each of its readers."""

    event_id: str
    readers: tuple[str, ...]
    not_trusted: tuple[str, ...] = ()
    """Namespaces of the allow list that got nothing: this namespace pinned no keys of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event that another team published for this namespace."""

    position: int
    """Its place in the feed: increasing, with gaps."""
    event_id: str
    """The same each time that it is delivered: what to recognize a repetition by."""
    endpoint: str
    name: str
    publisher_namespace: str
    occurred_at: datetime
    """By the gateway's clock."""
    error: Exception | None = None
    """Why it does not verify here, or cannot be had any more: what stands above is the gateway's word."""
    _value: object = field(default=None, repr=False)

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever was published
        """What was published, certainly by the namespace that is trusted for the endpoint.

        Raises:
            UnverifiedAnswerError, TrustError, NotFoundError, PayloadConversionError: see ``error``.
        """
        if self.error is not None:
            raise self.error
        return self._value


def publish_input(
    endpoint: str, name: str, value: object, *, id_: str | None, readers: Iterable[str] | None
) -> PublishInput:
    """Return what is to be published. Raises ConfigurationError, WireFormatError."""
    if id_ is not None and not 0 < len(id_.encode()) <= MAX_REQUEST_ID_BYTES:
        raise ConfigurationError(f"an id is 1 to {MAX_REQUEST_ID_BYTES} bytes of UTF-8")
    named = None if readers is None else tuple(sorted(set(map(check_namespace, readers))))
    return PublishInput(
        endpoint=check_endpoint(endpoint),
        name=check_service(name, "event"),
        value=value,
        id=id_,
        readers=named,
    )


def publish_flow(caller: Caller, event: PublishInput, payload: Payload, clock: Clock) -> Flow[Published]:
    """Seal an event for each reader and publish it. What is repeated under an id arrives once.

    Raises:
        PayloadTooLargeError: it is no place for data; publish where they are.
        TrustError: a reader that was named is not trusted here.
        GatewayError: refused or not reached; readers before it in the alphabet may have got the event.
    """
    if len(payload.data) > MAX_EVENT_BYTES:
        raise PayloadTooLargeError(
            f"an event has at most {MAX_EVENT_BYTES} bytes; publish a reference to the data instead"
        )
    event_id = _event_id(caller, event)
    readers, not_trusted = event.readers, list[str]()
    if readers is None:
        allowed = yield from _allowed(event.endpoint)
        readers, not_trusted = yield from _trusted(allowed)

    def attempt(keys: PeerKeys) -> Flow[None]:
        sealed = _seal(caller, event, event_id, payload, reader=keys.sealing_key(), now_ms=clock.now_ms())
        yield Ask(
            stub=feed_service_pb2_grpc.FeedServiceStub,
            method="PublishEvent",
            request=feed_service_pb2.PublishEventRequest(envelope=sealed.envelope),
            timeout_seconds=START_TIMEOUT_SECONDS,
        )

    for reader in readers:
        yield from with_current_keys(reader, attempt)
    return Published(event_id=event_id.hex(), readers=readers, not_trusted=tuple(not_trusted))


def event_flow(
    caller: Caller, notice: EventNotice, clock: Clock, converter: PayloadConverter, type_hint: object
) -> Flow[Event]:
    """Fetch an event and verify it. One that does not verify is returned as such, so that others follow."""
    try:
        payload = yield from _fetched(caller, notice, clock)
        value = converter.from_payload(payload, type_hint)
    except (UnverifiedAnswerError, TrustError, EnvelopeError, NotFoundError, ValueError, TypeError) as error:
        return _event(notice, error=error)
    return _event(notice, value=value)


def _fetched(caller: Caller, notice: EventNotice, clock: Clock) -> Flow[Payload]:
    owner = yield from pinned_owner(caller, notice.endpoint)
    response: feed_service_pb2.GetEventResponse = yield Ask(
        stub=feed_service_pb2_grpc.FeedServiceStub,
        method="GetEvent",
        request=feed_service_pb2.GetEventRequest(
            publisher_namespace=notice.publisher_namespace, event_id=notice.event_id
        ),
        timeout_seconds=START_TIMEOUT_SECONDS,
    )
    shown = notice.event_id.hex()
    expected = Expected(
        directions=frozenset({Direction.EVENT}),
        trust_domain=caller.keyring.trust_domain,
        sender_namespace=owner,
        recipient_namespace=caller.namespace,
        endpoint=notice.endpoint,
        service=EVENT_SERVICE,
        operation=notice.name,
        operation_id=notice.event_id,
        request_digest=None,
    )

    def verify(keys: VerifiedKeys) -> Payload:
        try:
            return open_envelope(
                response.envelope,
                expected=expected,
                sender_keys=keys,
                decrypter=caller.keyring,
                namespace=caller.namespace,
                now_ms=clock.now_ms(),
            ).payload
        except EnvelopeRejectedError as error:
            raise UnverifiedAnswerError(shown, "an event") from error

    return (yield from verified_with_newest_keys(owner, verify, shown=lambda: shown, what="an event"))


def _event(notice: EventNotice, *, value: object = None, error: Exception | None = None) -> Event:
    return Event(
        position=notice.position,
        event_id=notice.event_id.hex(),
        endpoint=notice.endpoint,
        name=notice.name,
        publisher_namespace=notice.publisher_namespace,
        occurred_at=notice.occurred_at,
        error=error,
        _value=value,
    )


def _event_id(caller: Caller, event: PublishInput) -> OperationId:
    if event.id is None:
        return random_operation_id()
    return derive_operation_id(
        caller.keyring.id_key,
        trust_domain=caller.keyring.trust_domain,
        caller_namespace=caller.namespace,
        endpoint=event.endpoint,
        service=EVENT_SERVICE,
        operation=event.name,
        request_id=event.id,
    )


def _allowed(endpoint: str) -> Flow[list[str]]:
    response: endpoint_service_pb2.GetEndpointResponse = yield Ask(
        stub=endpoint_service_pb2_grpc.EndpointServiceStub,
        method="GetEndpoint",
        request=endpoint_service_pb2.GetEndpointRequest(name=endpoint),
        timeout_seconds=START_TIMEOUT_SECONDS,
    )
    return sorted({check_namespace(rule.namespace) for rule in response.endpoint.allow})


def _trusted(namespaces: list[str]) -> Flow[tuple[tuple[str, ...], list[str]]]:
    """Return whom this namespace has pinned, and whom not: the gateway's list alone opens nothing."""
    trusted, others = list[str](), list[str]()
    for namespace in namespaces:
        try:
            yield FetchKeys(namespace=namespace)
        except TrustError:
            others.append(namespace)
        else:
            trusted.append(namespace)
    return tuple(trusted), others


def _seal(
    caller: Caller,
    event: PublishInput,
    event_id: OperationId,
    payload: Payload,
    *,
    reader: RecipientKey,
    now_ms: int,
) -> Sealed:
    signer = caller.keyring.signing_key()
    header = Header(
        direction=Direction.EVENT,
        trust_domain=caller.keyring.trust_domain,
        sender_namespace=NamespaceName(caller.namespace),
        sender_key_id=signer.key_id,
        principal=caller.principal,
        recipient_namespace=NamespaceName(reader.namespace),
        endpoint=event.endpoint,
        service=EVENT_SERVICE,
        operation=event.name,
        operation_id=event_id,
        message_id=random_message_id(),
        issued_at_ms=now_ms,
        recipients=(reader.namespace,),
    )
    try:
        return seal(header, payload, signer=signer, recipients=(reader,))
    except BodyTooLargeError as error:
        raise PayloadTooLargeError(str(error)) from None
    except NeverSealError as error:
        raise ConfigurationError(str(error)) from None
