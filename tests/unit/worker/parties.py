"""Namespaces with real keys, and what they seal and open for the worker's tests."""

import os
import time
from dataclasses import dataclass, field

from isthmus.blobs.claim_checks import ClaimChecks
from isthmus.envelope.expected import Expected
from isthmus.envelope.key_material import EncryptionPrivateKey, EncryptionPublicKey, SigningPrivateKey
from isthmus.envelope.open import Opened, open_envelope
from isthmus.envelope.seal import Sealed, seal
from isthmus.keys.contents import KeyringContents, new_key
from isthmus.keys.endpoint_records import KnownRecord
from isthmus.keys.errors import RecipientError, TrustError
from isthmus.keys.keyring import OwnKeys
from isthmus.keys.keyset import VerifiedKeyset
from isthmus.keys.statements import next_keyset
from isthmus.payload.converter import DefaultPayloadConverter
from isthmus.payload.payload import Payload
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import Connection
from isthmus.wire.header import Direction, Header
from isthmus.wire.names import NamespaceName, OperationId
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import Keyset

TRUST_DOMAIN = "test.example"
ENDPOINT = "payments"
DAY_MS = 24 * 3600 * 1000


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class MemoryKeyring:
    """A keyring without a file: one key of each kind."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.trust_domain = TRUST_DOMAIN
        self.id_key = os.urandom(32)
        encryption = new_key(KeyKind.ENCRYPTION, state=KeyState.ACTIVE, now_ms=now_ms())
        signing = new_key(KeyKind.SIGNING, state=KeyState.ACTIVE, now_ms=now_ms())
        assert encryption.secret is not None
        assert signing.secret is not None
        self._encryption = EncryptionPrivateKey.from_seed(encryption.secret)
        self._signing = SigningPrivateKey.from_bytes(signing.secret)
        self.contents = KeyringContents(
            namespace=namespace,
            trust_domain=TRUST_DOMAIN,
            id_key=self.id_key,
            keys=(encryption, signing),
        )
        self._own = OwnKeys(namespace=namespace, trust_domain=TRUST_DOMAIN, public_keys=self.public_keys())

    def signing_key(self) -> SigningPrivateKey:
        """The active signing key."""
        return self._signing

    def sealing_key(self) -> EncryptionPublicKey:
        """The active encryption key."""
        return self._encryption.public

    def decryption_key(self, key_id: bytes) -> EncryptionPrivateKey | None:
        """The private key of an id."""
        return self._encryption if key_id == self._encryption.key_id else None

    def public_keys(self) -> tuple[PublicKeyRecord, ...]:
        """All public keys."""
        return tuple(key.record for key in self.contents.keys)

    def own_keys(self) -> OwnKeys:
        """The keys that verify what this namespace signed."""
        return self._own

    def refresh(self) -> bool:
        """There is no source to read again."""
        return False

    def follow(self, published: Keyset) -> None:
        """There is nothing newer."""

    def keyset(self) -> VerifiedKeyset:
        """What a peer that pinned this namespace has verified."""
        return VerifiedKeyset(next_keyset(self.contents, now_ms=now_ms()))


class MemoryDirectory:
    """Keysets of the namespaces that are pinned."""

    def __init__(self, *pinned: MemoryKeyring) -> None:
        self._keysets = {keyring.namespace: keyring.keyset() for keyring in pinned}

    def at_hand(self, namespace: str) -> VerifiedKeyset | None:
        """The same, for those that are pinned."""
        return self._keysets.get(namespace)

    async def keyset(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeyset:
        """The keyset of a pinned namespace. Raises TrustError for all others."""
        if namespace not in self._keysets:
            raise TrustError(f"{namespace} is not pinned")
        return self._keysets[namespace]


class NoRecords:
    """Nobody signed anything about an endpoint, and nobody reads along."""

    @property
    def cache(self) -> "NoRecords":
        """All of it is at hand."""
        return self

    def at_hand(self, namespace: str, endpoint: str) -> KnownRecord:
        """Nothing."""
        del endpoint
        return KnownRecord(namespace, None, 0, 0)

    def may_ask(self, namespace: str, endpoint: str) -> bool:
        """There is nobody to ask."""
        del namespace, endpoint
        return False

    async def record(self, namespace: str, endpoint: str, *, newest: bool = False) -> KnownRecord:
        """Nothing."""
        del newest
        return self.at_hand(namespace, endpoint)

    def require_recipient(self, namespace: str, endpoint: str) -> None:
        """Nobody consented. Raises RecipientError."""
        raise RecipientError(namespace, endpoint, is_pinned=False)


@dataclass(slots=True, kw_only=True)
class HandlerClient:
    """A client as a worker needs it, connected to the test's gateway."""

    keyring: MemoryKeyring
    key_directory: MemoryDirectory
    connection: Connection
    principal: str = "spiffe://test.example/payments-worker"
    payload_converter: DefaultPayloadConverter = field(default_factory=DefaultPayloadConverter)
    claim_checks: ClaimChecks = field(default_factory=ClaimChecks)
    endpoint_records: NoRecords = field(default_factory=NoRecords)
    consents: NoRecords = field(default_factory=NoRecords)

    @property
    def namespace(self) -> NamespaceName:
        """The namespace that serves."""
        return NamespaceName(self.keyring.namespace)

    @property
    def trust_domain(self) -> str:
        """The deployment."""
        return self.keyring.trust_domain

    async def refresh_keys(self) -> None:
        """There is nothing to read again."""


def handler_client(address: str, keyring: MemoryKeyring, *pinned: MemoryKeyring) -> HandlerClient:
    """Connect a client that trusts the pinned namespaces."""
    return HandlerClient(
        keyring=keyring,
        key_directory=MemoryDirectory(*pinned),
        connection=Connection(ChannelSettings(address=address)),
    )


@dataclass(slots=True, kw_only=True)
class Caller:
    """A namespace that calls."""

    keyring: MemoryKeyring
    handler: MemoryKeyring
    converter: DefaultPayloadConverter = field(default_factory=DefaultPayloadConverter)

    def request(
        self,
        operation: str,
        value: object,
        *,
        service: str = "Payments",
        expires_in_ms: int = DAY_MS,
        labels: tuple[tuple[str, str], ...] = (),
        operation_id: bytes | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Sealed:
        """Seal a request."""
        at = now_ms()
        issued = at if expires_in_ms > 0 else at + expires_in_ms - 1000
        header = Header(
            direction=Direction.REQUEST,
            trust_domain=TRUST_DOMAIN,
            sender_namespace=NamespaceName(self.keyring.namespace),
            sender_key_id=self.keyring.signing_key().key_id,
            principal="spiffe://test.example/airflow",
            recipient_namespace=NamespaceName(self.handler.namespace),
            endpoint=ENDPOINT,
            service=service,
            operation=operation,
            operation_id=OperationId(operation_id or os.urandom(16)),
            message_id=os.urandom(16),
            issued_at_ms=issued,
            expires_at_ms=at + expires_in_ms,
            schedule_to_close_timeout_ms=DAY_MS,
            recipients=(self.handler.namespace,),
            labels=labels,
        )
        payload = self.converter.to_payload(value)._replace(headers=headers)
        return self._seal(header, payload)

    def cancel(self, request: Sealed) -> bytes:
        """Seal a cancel of a request."""
        header = request.header._replace(
            direction=Direction.CANCEL,
            sender_namespace=NamespaceName(self.keyring.namespace),
            sender_key_id=self.keyring.signing_key().key_id,
            message_id=os.urandom(16),
            request_digest=request.digest,
            issued_at_ms=now_ms(),
            expires_at_ms=now_ms() + DAY_MS,
            schedule_to_close_timeout_ms=0,
            labels=(),
        )
        return self._seal(header, Payload(content_type="", data=b"")).envelope

    def open(self, envelope: bytes, request: Sealed, direction: Direction) -> Opened:
        """Open an answer to a request, as strictly as a client does."""
        return open_envelope(
            envelope,
            expected=Expected(
                directions=frozenset({direction}),
                trust_domain=TRUST_DOMAIN,
                sender_namespace=self.handler.namespace,
                recipient_namespace=self.keyring.namespace,
                endpoint=request.header.endpoint,
                service=request.header.service,
                operation=request.header.operation,
                operation_id=request.header.operation_id,
                request_digest=request.digest,
            ),
            sender_keys=self.handler.keyset(),
            decrypter=self.keyring,
            namespace=self.keyring.namespace,
            now_ms=now_ms(),
        )

    def _seal(self, header: Header, payload: Payload) -> Sealed:
        recipient = self.handler.keyset().sealing_key()
        return seal(header, payload, signer=self.keyring.signing_key(), recipients=(recipient,))
