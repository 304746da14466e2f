"""What an end knows by itself about a message before it opens it, and whose keys it trusts.

Nothing here may come from the message, nor from an unsigned answer of the gateway: the namespace of an
endpoint is what the local trust store pinned, the request digest is that of the envelope that this namespace
signed.
"""

from dataclasses import dataclass
from enum import Enum, unique
from typing import NamedTuple, Protocol

from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPublicKey
from isthmus.wire.header import Direction

_DIGEST_UNKNOWN = frozenset({Direction.REQUEST, Direction.CONTEXT, Direction.EVENT})
"""Directions that may be opened without knowing a request digest: requests and events have none, and a caller
context is sealed by this namespace itself, possibly with a request that lost against an earlier one."""


class Expected(NamedTuple):
    """Local state that every header field is compared with. None means: nothing is known locally."""

    directions: frozenset[Direction]
    """What the message may be. One call opens one kind, or the kinds that can end an operation."""
    trust_domain: str
    """The deployment that this end belongs to."""
    sender_namespace: str
    """Who must have signed: the pinned namespace of the endpoint, the caller of the task, or oneself."""
    recipient_namespace: str
    """Whom the message is for: one's own namespace, unless an escrow holder opens."""
    endpoint: str | None
    """The endpoint that was called. None at a worker that serves whatever its task queue receives."""
    service: str | None
    """The service that was called. None at a worker, which looks it up afterwards among what it serves."""
    operation: str | None
    """The operation that was called. None as for ``service``."""
    operation_id: bytes | None
    """The operation that the message was delivered for. Never None, except where a message introduces it."""
    request_digest: bytes | None
    """Digest of the request that the message answers. None only for requests, contexts and events."""
    principal: str | None = None
    """Who must have sent it. None where any principal of the sender's namespace may: the gateway's policy
    decided that, and the sender signed the name."""
    contract_hash: bytes | None = None
    """The contract that both sides must speak. None when contracts are not pinned."""
    recipients: tuple[str, ...] | None = None
    """The exact recipients, when local consent names an escrow holder. None: only sender and recipient."""
    labels: tuple[tuple[str, str], ...] | None = None
    """The exact labels, where a decision was based on them. None: whatever the sender signed."""

    def check(self) -> None:
        """Refuse to open answers that nothing ties to a question. Raises ValueError."""
        if self.request_digest is None and not self.directions <= _DIGEST_UNKNOWN:
            raise ValueError("only requests, contexts and events open without a known request digest")
        if self.operation_id is None and self.directions != frozenset({Direction.REQUEST}):
            raise ValueError("only requests open without a known operation id")


@unique
class SigningKeyState(Enum):
    """What a verified keyset says about a signing key."""

    PRE_PUBLISHED = "pre-published"
    ACTIVE = "active"
    VERIFY_ONLY = "verify-only"
    RETIRED = "retired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSigningKey:
    """A signing key that the root of its namespace vouches for, in whatever state."""

    key: SigningPublicKey
    state: SigningKeyState


class VerifiedKeys(Protocol):
    """Signing keys of one namespace, from a keyset that was verified against a pin."""

    @property
    def namespace(self) -> str:
        """Whose keys these are."""
        ...

    @property
    def trust_domain(self) -> str:
        """The deployment that they are valid in."""
        ...

    def is_current(self, now_ms: int) -> bool:
        """Tell whether the keyset may still be used."""
        ...

    def find_signing_key(self, key_id: bytes) -> KnownSigningKey | None:
        """Return the key of this id in whatever state, or None when the keyset does not list it."""
        ...


class Decrypter(Protocol):
    """Where the private encryption keys of one's own namespace are: a keyring."""

    def decryption_key(self, key_id: bytes) -> EncryptionPrivateKey | None:
        """Return the key of this id, or None when it is not known (yet)."""
        ...
