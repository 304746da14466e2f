"""The envelopes of a worker: opens what tasks bring, seals what answers them.

Everything that an envelope is checked against is local: one's own namespace and trust domain, the pinned keys
of the caller, the operation that the task names.

Opening and sealing run on the event loop. Threads made both slower at every size below 1 MiB (one open and
one seal of 4 KiB: 0.73 ms on the loop, 1.0 ms through a pool of one or two): the hop costs more than the
moments gain in which the interpreter's lock is free.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError, MissingKey, RejectionReason
from isthmus.envelope.expected import Decrypter, Expected, VerifiedKeys
from isthmus.envelope.identity import random_message_id
from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.envelope.open import Opened, ReplayGuard, check_header, check_signature, open_envelope
from isthmus.envelope.seal import RecipientKey, in_header_order, seal
from isthmus.payload.payload import Payload
from isthmus.wire.envelope import SealedEnvelope, header_hash, parse_envelope, signed_bytes
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Direction, Header, readers_of
from isthmus.wire.names import NamespaceName, OperationId
from isthmus.worker.request_rules import RequestRules

_REQUEST = frozenset({Direction.REQUEST})
_CANCEL = frozenset({Direction.CANCEL})
_SIGNAL = frozenset({Direction.SIGNAL})
_STARTED = frozenset({Direction.STARTED})
_DETAILS = frozenset({Direction.DETAILS})
_TO_SELF = (Direction.STARTED, Direction.DETAILS)
# Inside of the sealed payload: which attempt said it. No application header can have this name.
_ATTEMPT = "isthmus-attempt"


class WorkerKeys(Protocol):
    """The keys that a worker needs: its own, and those of the callers that its namespace pinned."""

    @property
    def decrypter(self) -> Decrypter:
        """Private encryption keys of the worker's namespace."""
        ...

    def signer(self) -> SigningPrivateKey:
        """Return the key that signs outcomes now. Raises KeyUnavailableError."""
        ...

    def token_key(self, token: bytes) -> bytes:
        """Return the keyed hash that an operation of the worker's namespace is found by."""
        ...

    def verification_keys_at_hand(self, namespace: str) -> VerifiedKeys | None:
        """Return what verification_keys would, where that needs no waiting; None leaves it to that."""
        ...

    def recipient_key_at_hand(self, namespace: str) -> RecipientKey | None:
        """Return what recipient_key would, where that needs no waiting; None leaves it to that."""
        ...

    async def verification_keys(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeys:
        """Return the keys that a namespace may have signed with; ``key_id`` is one that should be among them.

        Raises:
            UntrustedNamespaceError: it is not pinned.
            KeyUnavailableError: its keyset cannot be fetched or verified now.
        """
        ...

    async def recipient_key(self, namespace: str, *, newest: bool = False) -> RecipientKey:
        """Return the key to seal to. Raises as verification_keys does.

        With ``newest``, keyring and keyset are read again first.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this worker is."""

    namespace: NamespaceName
    trust_domain: str
    principal: str


class RequestFacts(NamedTuple):
    """What an answer repeats of the request that it answers."""

    caller_namespace: NamespaceName
    endpoint: str
    service: str
    operation: str
    operation_id: OperationId
    request_digest: bytes
    recipients: tuple[str, ...]
    """Whom the request was sealed to."""
    readers: tuple[str, ...]
    """Who of them reads along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a message stands among those of its sender: the session, 16 bytes, and a number from 1."""

    session: bytes
    sequence: int


def unix_ms() -> int:
    """Return the time as Unix milliseconds."""
    return time.time_ns() // 1_000_000


class TaskEnvelopes:
    """Opens and seals for one worker."""

    def __init__(
        self,
        *,
        identity: Identity,
        keys: WorkerKeys,
        guard: ReplayGuard,
        rules: RequestRules,
        now_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self.identity = identity
        self._rules = rules
        self._keys = keys
        self._guard = guard
        self._now_ms = now_ms

    async def open_request(
        self, data: bytes, *, caller_namespace: str, operation_id: bytes, task_queue: str
    ) -> Opened:
        """Open the request of a task that came from a task queue.

        Raises:
            EnvelopeRejectedError: it is not authentic, not for this worker, or not as this worker's namespace
                signed that requests to the endpoint are.
            KeyUnavailableError: a key is missing here, or what was signed about the endpoint.
            UntrustedNamespaceError: the caller is not pinned.
        """
        expected = self._expected_request(sender=caller_namespace, operation_id=operation_id)
        try:
            opened = await self._open(data, expected, guard=self._guard)
        except EnvelopeRejectedError as error:
            if error.reason is not RejectionReason.RECIPIENTS:
                raise
            # Somebody reads along. Whether that is as it was signed, the rules say.
            expected = expected._replace(recipients=_parse(data).header.recipients)
            opened = await self._open(data, expected, guard=self._guard)
        await self._rules.check(opened.header, task_queue=task_queue)
        return opened

    async def verify_request(
        self, data: bytes, *, caller_namespace: str | None, operation_id: bytes
    ) -> RequestFacts:
        """Verify who sent a request and what it asks, without opening it and whether or not it has expired.

        Raises as open_request does.
        """
        envelope = _parse(data)
        header = envelope.header
        expected = self._expected_request(
            sender=caller_namespace or header.sender_namespace, operation_id=operation_id
        )
        if len(header.recipients) > 1:
            expected = expected._replace(recipients=header.recipients)
        check_header(header, expected)
        keys = await self._keys.verification_keys(expected.sender_namespace, key_id=header.sender_key_id)
        signed = signed_bytes(header_hash(envelope.header_bytes), envelope.body_digest)
        check_signature(
            header, envelope.signature, signed, expected=expected, keys=keys, now_ms=self._now_ms()
        )
        await self._rules.check(header, task_queue=None)
        return facts_of(header, envelope.digest)

    async def open_cancel(self, data: bytes, *, request: RequestFacts) -> Opened:
        """Open the cancel of an operation. Raises as open_request does."""
        return await self._open(data, self._expected_about(request, _CANCEL, sender=request.caller_namespace))

    async def open_signal(self, data: bytes, *, request: RequestFacts) -> Opened:
        """Open a signal to an operation. Raises as open_request does."""
        return await self._open(data, self._expected_about(request, _SIGNAL, sender=request.caller_namespace))

    async def open_started(self, data: bytes, *, request: RequestFacts) -> Opened:
        """Open the operation token that this namespace sealed to itself. Raises as open_request does."""
        return await self._open(data, self._expected_about(request, _STARTED, sender=self.identity.namespace))

    async def open_details(self, data: bytes, *, request: RequestFacts, attempt: int) -> Payload:
        """Open the details that an attempt before this one sealed to its own namespace.

        Raises as open_request does.
        """
        expected = self._expected_about(request, _DETAILS, sender=self.identity.namespace)
        payload = (await self._open(data, expected)).payload
        stated = dict(payload.headers).get(_ATTEMPT, "")
        if not (stated.isascii() and stated.isdigit() and 0 < int(stated) < attempt):
            raise EnvelopeRejectedError(RejectionReason.ATTEMPT)
        return payload

    def token_key(self, token: bytes) -> bytes:
        """Return the keyed hash that an operation is found by whose handler returned this token."""
        return self._keys.token_key(token)

    async def seal(
        self,
        direction: Direction,
        payload: Payload,
        *,
        request: RequestFacts,
        newest_keys: bool = False,
        place: Place | None = None,
    ) -> bytes:
        """Seal an answer: a token and details to this namespace itself, everything else to the caller.

        What is for the caller is sealed to those as well who read along in its request.

        With ``newest_keys`` keyring and keyset are read again first: the keys at hand were refused. A
        ``place`` is for progress only.

        Raises:
            NeverSealError: the payload is too large.
            KeyUnavailableError: a key is missing here.
            UntrustedNamespaceError: the caller is not pinned any more.
        """
        recipient = self.identity.namespace if direction in _TO_SELF else request.caller_namespace
        key = None if newest_keys else self._keys.recipient_key_at_hand(recipient)
        if key is None:
            key = await self._keys.recipient_key(recipient, newest=newest_keys)
        keys: tuple[RecipientKey, ...] = (key,)
        if request.readers and direction not in _TO_SELF:
            keys = await self._with_readers(key, request, newest=newest_keys)
        signer = self._keys.signer()
        header = Header(
            direction=direction,
            trust_domain=self.identity.trust_domain,
            sender_namespace=self.identity.namespace,
            sender_key_id=signer.key_id,
            principal=self.identity.principal,
            recipient_namespace=recipient,
            endpoint=request.endpoint,
            service=request.service,
            operation=request.operation,
            operation_id=request.operation_id,
            message_id=random_message_id(),
            request_digest=request.request_digest,
            issued_at_ms=self._now_ms(),
            recipients=tuple([one.namespace for one in keys]),
            sender_session=b"" if place is None else place.session,
            sequence=0 if place is None else place.sequence,
        )
        return seal(header, payload, signer=signer, recipients=keys).envelope

    async def _with_readers(
        self, caller: RecipientKey, request: RequestFacts, *, newest: bool
    ) -> tuple[RecipientKey, ...]:
        """Return the caller's key and those of who reads along, in the order of the header."""
        self._rules.require_consent(request.readers, request.endpoint)
        keys: list[RecipientKey] = []
        for reader in request.readers:
            key = None if newest else self._keys.recipient_key_at_hand(reader)
            keys.append(key or await self._keys.recipient_key(reader, newest=newest))
        return in_header_order(caller, keys)

    async def _open(self, data: bytes, expected: Expected, guard: ReplayGuard | None = None) -> Opened:
        sender = expected.sender_namespace
        keys = self._keys.verification_keys_at_hand(sender) or await self._keys.verification_keys(sender)
        try:
            return self._open_once(data, expected, guard, keys)
        except KeyUnavailableError as error:
            if error.permanent or error.which is not MissingKey.SENDER_SIGNING:
                raise
            missing = error.key_id
        # The sender began to use a key that its keyset at hand does not list yet.
        keys = await self._keys.verification_keys(sender, key_id=missing)
        return self._open_once(data, expected, guard, keys)

    def _open_once(
        self, data: bytes, expected: Expected, guard: ReplayGuard | None, keys: VerifiedKeys
    ) -> Opened:
        return open_envelope(
            data,
            expected=expected,
            sender_keys=keys,
            decrypter=self._keys.decrypter,
            namespace=self.identity.namespace,
            now_ms=self._now_ms(),
            guard=guard,
        )

    def _expected_request(self, *, sender: str, operation_id: bytes) -> Expected:
        return Expected(
            directions=_REQUEST,
            trust_domain=self.identity.trust_domain,
            sender_namespace=sender,
            recipient_namespace=self.identity.namespace,
            endpoint=None,
            service=None,
            operation=None,
            operation_id=operation_id,
            request_digest=b"",
        )

    def _expected_about(
        self, request: RequestFacts, directions: frozenset[Direction], *, sender: str
    ) -> Expected:
        """Return what a message about a request must be that is known already."""
        return Expected(
            directions=directions,
            trust_domain=self.identity.trust_domain,
            sender_namespace=sender,
            recipient_namespace=self.identity.namespace,
            endpoint=request.endpoint,
            service=request.service,
            operation=request.operation,
            operation_id=request.operation_id,
            request_digest=request.request_digest,
            # A message of the caller is for whom its request was for; what one sealed to oneself is not.
            recipients=request.recipients
            if len(request.recipients) > 1 and directions not in (_STARTED, _DETAILS)
            else None,
        )


def _parse(data: bytes) -> SealedEnvelope:
    try:
        return parse_envelope(data)
    except WireFormatError:
        raise EnvelopeRejectedError(RejectionReason.MALFORMED) from None


def with_attempt(payload: Payload, attempt: int) -> Payload:
    """Return what an attempt says, with its number inside: where the gateway cannot change it."""
    return payload._replace(headers=tuple(sorted({**dict(payload.headers), _ATTEMPT: str(attempt)}.items())))


def facts_of(header: Header, request_digest: bytes) -> RequestFacts:
    """Return what answers repeat of a request with this header."""
    return RequestFacts(
        header.sender_namespace,
        header.endpoint,
        header.service,
        header.operation,
        header.operation_id,
        request_digest,
        header.recipients,
        readers_of(header),
    )
