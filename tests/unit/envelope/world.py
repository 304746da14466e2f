"""Three namespaces with fixed keys, and a workbench on which envelopes are built outside the rules."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.envelope import binding
from isthmus.envelope.expected import Expected, VerifiedKeys
from isthmus.envelope.inner import encode_inner
from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey
from isthmus.envelope.open import Opened, ReplayGuard, open_envelope
from isthmus.envelope.seal import RecipientKey, Sealed, seal, seal_body
from isthmus.keys.keyring import OwnKeys
from isthmus.payload.payload import Payload
from isthmus.v1 import envelope_pb2
from isthmus.wire.envelope import SealedEnvelope, SealedWrap, encode_envelope, header_hash, signed_bytes
from isthmus.wire.header import OUTCOMES, Direction, Header, encode_header
from isthmus.wire.names import NamespaceName, OperationId
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
TRUST_DOMAIN = "acme"
PAYLOAD = Payload(content_type="application/json", headers=(("lang", "en"),), data=b'{"order": 42}')
ANSWER = Payload(content_type="application/json", data=b'{"paid": true}')
_EXPIRING = {Direction.REQUEST, Direction.CANCEL, Direction.SIGNAL}


def fixed_bytes(label: str, count: int = 32) -> bytes:
    """Return bytes that follow from a label."""
    return hashlib.shake_256(label.encode()).digest(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A namespace: two signing keys, an encryption key, and the role of a ``Decrypter``."""

    namespace: NamespaceName
    signing: SigningPrivateKey
    second_signing: SigningPrivateKey
    encryption: EncryptionPrivateKey
    states: dict[bytes, KeyState]

    @classmethod
    def named(cls, name: str) -> "Party":
        """Make the namespace of a name."""
        signing = SigningPrivateKey.from_bytes(fixed_bytes(f"{name}/signing"))
        second = SigningPrivateKey.from_bytes(fixed_bytes(f"{name}/second-signing"))
        return cls(
            namespace=NamespaceName(name),
            signing=signing,
            second_signing=second,
            encryption=EncryptionPrivateKey.from_seed(fixed_bytes(f"{name}/encryption")),
            states={signing.key_id: KeyState.ACTIVE, second.key_id: KeyState.ACTIVE},
        )

    @property
    def recipient(self) -> RecipientKey:
        """This namespace as a recipient."""
        return RecipientKey(namespace=self.namespace, key=self.encryption.public)

    def keys(self) -> OwnKeys:
        """Return its signing keys with their states."""
        records = tuple(
            PublicKeyRecord(
                key_id=key.key_id,
                kind=KeyKind.SIGNING,
                state=self.states[key.key_id],
                public_key=key.public.raw,
                created_at_ms=NOW_MS,
            )
            for key in (self.signing, self.second_signing)
        )
        return OwnKeys(namespace=self.namespace, trust_domain=TRUST_DOMAIN, public_keys=records)

    def decryption_key(self, key_id: bytes) -> EncryptionPrivateKey | None:
        """Return the encryption key when it has this id."""
        return self.encryption if key_id == self.encryption.key_id else None


class World:
    """A caller, a handler, an escrow holder and a stranger, all of one deployment."""

    def __init__(self) -> None:
        self.caller = Party.named("data-team")
        self.handler = Party.named("app-team")
        self.escrow = Party.named("escrow")
        self.stranger = Party.named("mallory")
        self.operation_id = OperationId(fixed_bytes("operation", 16))
        self.now_ms = NOW_MS
        self._messages = 0

    def header(self, direction: Direction, sender: Party, recipient: Party, **changes: Any) -> Header:
        """Return a valid header from sender to recipient."""
        self._messages += 1
        values: dict[str, Any] = {
            "direction": direction,
            "trust_domain": TRUST_DOMAIN,
            "sender_namespace": sender.namespace,
            "sender_key_id": sender.signing.key_id,
            "principal": f"spiffe://{TRUST_DOMAIN}/{sender.namespace}",
            "recipient_namespace": recipient.namespace,
            "endpoint": "payments",
            "service": "Payments",
            "operation": "charge",
            "operation_id": self.operation_id,
            "message_id": fixed_bytes(f"message/{self._messages}", 16),
            "issued_at_ms": NOW_MS,
            "expires_at_ms": NOW_MS + HOUR_MS if direction in _EXPIRING else 0,
            "schedule_to_close_timeout_ms": HOUR_MS if direction is Direction.REQUEST else 0,
            "recipients": tuple(sorted({sender.namespace, recipient.namespace})),
        }
        if direction in {Direction.SIGNAL, Direction.PROGRESS}:
            values |= {"sender_session": fixed_bytes("session", 16), "sequence": 1}
        return Header(**{**values, **changes})

    def seal(self, header: Header, payload: Payload, sender: Party) -> Sealed:
        """Seal by the rules."""
        signer = sender.signing
        if header.sender_key_id == sender.second_signing.key_id:
            signer = sender.second_signing
        return seal(header, payload, signer=signer, recipients=self.recipients(header.recipients))

    def request(self, **changes: Any) -> Sealed:
        """Seal a request of the caller to the handler."""
        header = self.header(Direction.REQUEST, self.caller, self.handler, **changes)
        return self.seal(header, PAYLOAD, self.caller)

    def answer(self, request: Sealed, direction: Direction = Direction.RESULT, **changes: Any) -> Sealed:
        """Seal an answer of the handler to a request."""
        header = self.header(
            direction,
            self.handler,
            self.caller,
            **{
                "request_digest": request.digest,
                "operation_id": request.header.operation_id,
                "endpoint": request.header.endpoint,
                **changes,
            },
        )
        return self.seal(header, ANSWER, self.handler)

    def open_request(self, data: bytes, *, guard: ReplayGuard | None = None, **changes: Any) -> Opened:
        """Open a request as the handler, which knows who called and for which operation."""
        expected = self.expect_request(**changes)
        return self.open(data, expected, sender=self.caller, opener=self.handler, guard=guard)

    def open_answer(
        self,
        data: bytes,
        request: Sealed,
        *,
        sender: Party | None = None,
        guard: ReplayGuard | None = None,
        **changes: Any,
    ) -> Opened:
        """Open an answer as the caller, which remembers its request."""
        expected = self.expect_answer(request)._replace(**changes)
        return self.open(data, expected, sender=sender or self.handler, opener=self.caller, guard=guard)

    def open(
        self,
        data: bytes,
        expected: Expected,
        *,
        sender: Party,
        opener: Party,
        guard: ReplayGuard | None = None,
        keys: VerifiedKeys | None = None,
    ) -> Opened:
        """Open by the rules; ``keys`` are the sender's unless something else is presented."""
        return open_envelope(
            data,
            expected=expected,
            sender_keys=keys or sender.keys(),
            decrypter=opener,
            namespace=opener.namespace,
            now_ms=self.now_ms,
            guard=guard,
        )

    def expect_request(self, **changes: Any) -> Expected:
        """Return what the handler knows about a request."""
        known: dict[str, Any] = {
            "directions": frozenset({Direction.REQUEST}),
            "trust_domain": TRUST_DOMAIN,
            "sender_namespace": self.caller.namespace,
            "recipient_namespace": self.handler.namespace,
            "endpoint": None,
            "service": None,
            "operation": None,
            "operation_id": self.operation_id,
            "request_digest": b"",
        }
        return Expected(**{**known, **changes})

    def expect_answer(self, request: Sealed) -> Expected:
        """Return what the caller knows about the outcome of a request."""
        return Expected(
            directions=OUTCOMES,
            trust_domain=TRUST_DOMAIN,
            sender_namespace=self.handler.namespace,
            recipient_namespace=self.caller.namespace,
            endpoint=request.header.endpoint,
            service=request.header.service,
            operation=request.header.operation,
            operation_id=request.header.operation_id,
            request_digest=request.digest,
        )

    def recipients(self, namespaces: Iterable[str]) -> list[RecipientKey]:
        """Return the recipient keys of some namespaces."""
        parties = {p.namespace: p for p in (self.caller, self.handler, self.escrow, self.stranger)}
        return [parties[NamespaceName(namespace)].recipient for namespace in namespaces]


def parts(data: bytes) -> envelope_pb2.Envelope:
    """Take an envelope apart without any check."""
    return envelope_pb2.Envelope.FromString(data)


def with_header(data: bytes, **changes: Any) -> bytes:
    """Return the envelope with other header fields, as the gateway could change them."""
    message = parts(data)
    header = parse_without_checks(message.header)
    message.header = encode_header(header._replace(**changes))
    return message.SerializeToString(deterministic=True)


def parse_without_checks(data: bytes) -> Header:
    """Read a header that was valid before."""
    message = envelope_pb2.EnvelopeHeader.FromString(data)
    values: dict[str, Any] = {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields}
    values["direction"] = Direction(values["direction"])
    values["recipients"] = tuple(values["recipients"])
    values["labels"] = tuple((label.name, label.value) for label in values["labels"])
    return Header(**values)


def serialize_without_checks(header: Header) -> bytes:
    """Serialize a header that breaks rules, as protobuf does."""
    values: dict[str, Any] = header._asdict()
    values["labels"] = [envelope_pb2.Label(name=name, value=value) for name, value in header.labels]
    return envelope_pb2.EnvelopeHeader(**values).SerializeToString(deterministic=True)


def signature_over(data: bytes, signer: SigningPrivateKey) -> bytes:
    """Return a signature over an envelope's header and body, by whomever."""
    message = parts(data)
    return signer.sign(signed_bytes(header_hash(message.header), hashlib.sha256(message.body).digest()))


def seal_anything(
    header_bytes: bytes,
    plaintext: bytes,
    *,
    signer: SigningPrivateKey,
    recipients: Sequence[RecipientKey],
    message_key: bytes | None = None,
    wrapped_keys: Sequence[bytes] | None = None,
    header: Header | None = None,
) -> bytes:
    """Seal a header and a padded plaintext that no rule was applied to, as a hostile sender could."""
    key = message_key or fixed_bytes("message-key")
    hashed = header_hash(header_bytes)
    body = seal_body(plaintext, message_key=key, hashed_header=hashed)
    wraps = tuple(
        SealedWrap(
            namespace=recipient.namespace,
            key_id=recipient.key.key_id,
            ciphertext=recipient.key.wrap(
                wrapped, binding.wrap_info(hashed, recipient.namespace, recipient.key.key_id)
            ),
        )
        for recipient, wrapped in zip(recipients, wrapped_keys or [key] * len(recipients), strict=True)
    )
    return encode_envelope(
        SealedEnvelope(
            header=header or parse_without_checks(header_bytes),
            header_bytes=header_bytes,
            wraps=wraps,
            body=body,
            signature=signer.sign(signed_bytes(hashed, hashlib.sha256(body).digest())),
        )
    )


def padded(payload: Payload = PAYLOAD) -> bytes:
    """Return a payload as the rules pad it."""
    return encode_inner(payload)
