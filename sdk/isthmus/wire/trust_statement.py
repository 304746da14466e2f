"""What a namespace states about its keys, as values and as the bytes that are signed.

Four statements vouch for one another: a **root** lists the keys that a namespace stands for, a **delegation**
lets one key sign keysets and another keep them alive, a **keyset** lists the public keys of the envelope, a
**renewal** moves the end of one keyset. Each is serialized once, signed, and passed on as these very bytes.

Decoding is strict: what is not the one serialization of its values is refused. Times are Unix milliseconds.
"""

import hashlib
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Self, TypeVar

from google.protobuf.message import DecodeError, Message

from isthmus.v1 import key_service_pb2 as pb
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import SUITE
from isthmus.wire.hybrid import HybridPublicKey, HybridSignature
from isthmus.wire.names import KeyId
from isthmus.wire.pae import pae
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord

MAX_STATEMENT_BYTES = 1024 * 1024

M = TypeVar("M", bound=Message)


@unique
class StatementKind(Enum):
    """What a signature is about; the value separates signatures over one kind from all others."""

    ROOT = "isthmus/root"
    DELEGATION = "isthmus/delegation"
    KEYSET = "isthmus/keyset"
    RENEWAL = "isthmus/keyset-renewal"
    ORGANIZATION_ROOT = "isthmus/organization-root"
    BUNDLE = "isthmus/bundle"
    ENDPOINT_RECORD = "isthmus/endpoint-record"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """A statement as transmitted, with its signatures, sorted by key id."""

    statement: bytes = field(repr=False)
    signatures: tuple[HybridSignature, ...] = ()

    @property
    def hash(self) -> bytes:
        """SHA-256 of the serialized statement, 32 bytes: what its successor names."""
        return hashlib.sha256(self.statement).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedKeyset:
    """A keyset and everything that vouches for it, as the gateway relays it."""

    roots: tuple[SignedStatement, ...]
    """Consecutive, the newest last."""
    delegation: SignedStatement
    keyset: SignedStatement
    renewal: SignedStatement | None = None

    @property
    def hash(self) -> bytes:
        """The hash of the keyset itself."""
        return self.keyset.hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The keys that a namespace stands for; so many of them have to sign for it."""

    trust_domain: str
    namespace: str
    version: int
    previous_hash: bytes
    issued_at_ms: int
    threshold: int
    keys: tuple[HybridPublicKey, ...]
    """Sorted by key id."""

    def key(self, key_id: bytes) -> HybridPublicKey | None:
        """Return the key of an id, None when the root does not list it."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def encode(self) -> bytes:
        """Serialize."""
        return serialized(
            pb.Root(
                trust_domain=self.trust_domain,
                namespace=self.namespace,
                version=self.version,
                previous_hash=self.previous_hash,
                issued_at_ms=self.issued_at_ms,
                threshold=self.threshold,
                keys=map(_key_message, self.keys),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse. Raises WireFormatError."""
        message = parsed(pb.Root(), data)
        return cls(
            trust_domain=message.trust_domain,
            namespace=message.namespace,
            version=message.version,
            previous_hash=message.previous_hash,
            issued_at_ms=message.issued_at_ms,
            threshold=message.threshold,
            keys=tuple(map(_key, message.keys)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Which key signs the keysets of a namespace, and which one may keep them alive."""

    trust_domain: str
    namespace: str
    version: int
    root_hash: bytes
    """The root that delegates."""
    issued_at_ms: int
    expires_at_ms: int
    signer: HybridPublicKey
    renewer: HybridPublicKey | None
    max_renewal_ms: int
    """For how long a renewal may keep a keyset alive."""

    def encode(self) -> bytes:
        """Serialize."""
        return serialized(
            pb.Delegation(
                trust_domain=self.trust_domain,
                namespace=self.namespace,
                version=self.version,
                root_hash=self.root_hash,
                issued_at_ms=self.issued_at_ms,
                expires_at_ms=self.expires_at_ms,
                signer=_key_message(self.signer),
                renewer=None if self.renewer is None else _key_message(self.renewer),
                max_renewal_ms=self.max_renewal_ms,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse. Raises WireFormatError."""
        message = parsed(pb.Delegation(), data)
        return cls(
            trust_domain=message.trust_domain,
            namespace=message.namespace,
            version=message.version,
            root_hash=message.root_hash,
            issued_at_ms=message.issued_at_ms,
            expires_at_ms=message.expires_at_ms,
            signer=_key(message.signer),
            renewer=_key(message.renewer) if message.HasField("renewer") else None,
            max_renewal_ms=message.max_renewal_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyset:
    """All public keys of a namespace at one moment."""

    trust_domain: str
    namespace: str
    version: int
    previous_hash: bytes
    issued_at_ms: int
    expires_at_ms: int
    suites: tuple[str, ...] = (SUITE,)
    keys: tuple[PublicKeyRecord, ...]
    """Sorted by key id."""

    def encode(self) -> bytes:
        """Serialize."""
        message = pb.Keyset(
            trust_domain=self.trust_domain,
            namespace=self.namespace,
            version=self.version,
            previous_hash=self.previous_hash,
            issued_at_ms=self.issued_at_ms,
            expires_at_ms=self.expires_at_ms,
            suites=self.suites,
        )
        for record in self.keys:
            message.keys.add(
                key_id=record.key_id,
                kind=int(record.kind),
                state=int(record.state),
                public_key=record.public_key,
                created_at_ms=record.created_at_ms,
            )
        return serialized(message)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse. Raises WireFormatError."""
        message = parsed(pb.Keyset(), data)
        try:
            keys = tuple(
                PublicKeyRecord(
                    key_id=KeyId(key.key_id),
                    kind=KeyKind(key.kind),
                    state=KeyState(key.state),
                    public_key=key.public_key,
                    created_at_ms=key.created_at_ms,
                )
                for key in message.keys
            )
        except ValueError:
            raise WireFormatError("a key has no known kind or state") from None
        return cls(
            trust_domain=message.trust_domain,
            namespace=message.namespace,
            version=message.version,
            previous_hash=message.previous_hash,
            issued_at_ms=message.issued_at_ms,
            expires_at_ms=message.expires_at_ms,
            suites=tuple(message.suites),
            keys=keys,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A later end for one keyset; nothing else of it changes."""

    trust_domain: str
    namespace: str
    keyset_hash: bytes
    issued_at_ms: int
    expires_at_ms: int

    def encode(self) -> bytes:
        """Serialize."""
        return serialized(
            pb.KeysetRenewal(
                trust_domain=self.trust_domain,
                namespace=self.namespace,
                keyset_hash=self.keyset_hash,
                issued_at_ms=self.issued_at_ms,
                expires_at_ms=self.expires_at_ms,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse. Raises WireFormatError."""
        message = parsed(pb.KeysetRenewal(), data)
        return cls(
            trust_domain=message.trust_domain,
            namespace=message.namespace,
            keyset_hash=message.keyset_hash,
            issued_at_ms=message.issued_at_ms,
            expires_at_ms=message.expires_at_ms,
        )


def signed_bytes(kind: StatementKind, statement: bytes) -> bytes:
    """Return what a key signs of a serialized statement."""
    return pae(kind.value, statement)


def signed_keyset_of(message: pb.SignedKeyset) -> SignedKeyset:
    """Take a signed keyset from its message; nothing is verified yet."""
    return SignedKeyset(
        roots=tuple(map(signed_statement_of, message.roots)),
        delegation=signed_statement_of(message.delegation),
        keyset=signed_statement_of(message.keyset),
        renewal=signed_statement_of(message.renewal) if message.HasField("renewal") else None,
    )


def decode_signed_keyset(data: bytes) -> SignedKeyset:
    """Parse a serialized signed keyset; nothing is verified yet. Raises WireFormatError."""
    return signed_keyset_of(filled(pb.SignedKeyset(), data))


def encode_signed_keyset(signed: SignedKeyset) -> bytes:
    """Serialize a signed keyset."""
    return serialized(signed_keyset_message(signed))


def decode_signed_statement(data: bytes) -> SignedStatement:
    """Parse a serialized signed statement; nothing is verified yet. Raises WireFormatError."""
    return signed_statement_of(filled(pb.SignedStatement(), data))


def encode_signed_statement(signed: SignedStatement) -> bytes:
    """Serialize a signed statement."""
    return serialized(signed_statement_message(signed))


def signed_keyset_message(signed: SignedKeyset) -> pb.SignedKeyset:
    """Return the message of a signed keyset."""
    return pb.SignedKeyset(
        roots=map(signed_statement_message, signed.roots),
        delegation=signed_statement_message(signed.delegation),
        keyset=signed_statement_message(signed.keyset),
        renewal=None if signed.renewal is None else signed_statement_message(signed.renewal),
    )


def signed_statement_of(message: pb.SignedStatement) -> SignedStatement:
    """Take a signed statement from its message; nothing is verified yet."""
    signatures = (
        HybridSignature(key_id=KeyId(one.key_id), ed25519=one.ed25519, ml_dsa_65=one.ml_dsa_65)
        for one in message.signatures
    )
    return SignedStatement(statement=message.statement, signatures=tuple(signatures))


def signed_statement_message(signed: SignedStatement) -> pb.SignedStatement:
    """Return the message of a signed statement."""
    signatures = (
        pb.HybridSignature(key_id=one.key_id, ed25519=one.ed25519, ml_dsa_65=one.ml_dsa_65)
        for one in signed.signatures
    )
    return pb.SignedStatement(statement=signed.statement, signatures=signatures)


def _key_message(key: HybridPublicKey) -> pb.HybridPublicKey:
    return pb.HybridPublicKey(ed25519=key.ed25519, ml_dsa_65=key.ml_dsa_65)


def _key(message: pb.HybridPublicKey) -> HybridPublicKey:
    return HybridPublicKey(ed25519=message.ed25519, ml_dsa_65=message.ml_dsa_65)


def serialized(message: Message) -> bytes:
    """Return the one serialization of a message."""
    return message.SerializeToString(deterministic=True)


def parsed(message: M, data: bytes) -> M:
    """Fill a message from its one serialization. Raises WireFormatError."""
    if len(data) > MAX_STATEMENT_BYTES:
        raise WireFormatError(f"a statement is larger than {MAX_STATEMENT_BYTES} bytes")
    filled(message, data)
    # Without its unknown fields a message is what its values alone serialize to.
    message.DiscardUnknownFields()
    if serialized(message) != data:
        raise WireFormatError(f"a {type(message).__name__} is not in its canonical serialization")
    return message


def filled(message: M, data: bytes) -> M:
    """Fill a message that only carries statements, from any serialization. Raises WireFormatError."""
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise WireFormatError(f"this is no {type(message).__name__}") from None
    return message
