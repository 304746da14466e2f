"""The keyset of a namespace, believed because its pinned root vouches for it, with its keys loaded.

The rules are those of ``isthmus.wire.chain``. Senders seal to the active encryption key only. Signatures are
accepted from active and verify-only keys; pre-published ones are known to exist, retired and revoked ones are
refused.
"""

from dataclasses import dataclass

from isthmus.envelope.expected import KnownSigningKey
from isthmus.envelope.key_material import EncryptionPublicKey, SigningPublicKey
from isthmus.envelope.seal import RecipientKey
from isthmus.keys.errors import KeysetRejectedError, NoSealingKeyError
from isthmus.keys.keyring import SIGNING_STATES
from isthmus.wire.chain import (
    Chain,
    ChainError,
    ChainProblem,
    Marks,
    check_progress,
    check_same_keys,
    check_time,
    verify_chain,
)
from isthmus.wire.header import SUITE
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import Keyset, SignedKeyset


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What is known about a namespace's root by other means than the gateway."""

    namespace: str
    trust_domain: str
    fingerprint: bytes
    """The hash of the pinned root, 32 bytes."""
    expires_at_ms: int | None = None
    """When it ends, where only bundles of organizations vouch for it."""


class VerifiedKeyset:
    """A keyset that satisfied every rule, with its keys loaded. It is a ``VerifiedKeys``."""

    __slots__ = (
        "_recipient",
        "_signing",
        "expires_at_ms",
        "keyset",
        "namespace",
        "signer",
        "trust_domain",
    )

    keyset: Keyset
    expires_at_ms: int
    """When it must no longer be used, with renewal and delegation taken into account."""
    namespace: str
    """Whose keys these are."""
    trust_domain: str
    """The deployment that they are valid in."""
    signer: HybridPublicKey | None
    """Who signs for the namespace, as its root delegated; None when no chain vouched for the keyset."""

    def __init__(
        self, keyset: Keyset, expires_at_ms: int | None = None, signer: HybridPublicKey | None = None
    ) -> None:
        """Load the keys of a keyset that was verified. Raises ValueError when one of them is no key."""
        self.keyset = keyset
        self.expires_at_ms = keyset.expires_at_ms if expires_at_ms is None else expires_at_ms
        self.namespace = keyset.namespace
        self.trust_domain = keyset.trust_domain
        self.signer = signer
        self._signing: dict[bytes, KnownSigningKey] = {}
        self._recipient: RecipientKey | None = None
        for record in keyset.keys:
            if record.kind is KeyKind.SIGNING:
                self._signing[record.key_id] = KnownSigningKey(
                    key=SigningPublicKey(record.public_key), state=SIGNING_STATES[record.state]
                )
            elif record.state is KeyState.ACTIVE:
                key = EncryptionPublicKey(record.public_key)
                if SUITE in keyset.suites:
                    self._recipient = RecipientKey(namespace=keyset.namespace, key=key)

    def is_current(self, now_ms: int) -> bool:
        """Tell whether the keyset has not expired."""
        return now_ms < self.expires_at_ms

    def sealing_key(self) -> RecipientKey:
        """Return the key to seal to.

        Raises:
            NoSealingKeyError: no encryption key is active, or the namespace does not open this suite.

        """
        if self._recipient is None:
            raise NoSealingKeyError(f"{self.namespace} has no active encryption key for this suite")
        return self._recipient

    def find_signing_key(self, key_id: bytes) -> KnownSigningKey | None:
        """Return the key of this id in whatever state, or None when the keyset does not list it."""
        return self._signing.get(key_id)


def verify_keyset(
    signed: SignedKeyset,
    *,
    pin: Pin,
    seen: Marks | None,
    now_ms: int | None,
    known: Keyset | None = None,
) -> tuple[VerifiedKeyset, Chain]:
    """Return the keyset when it satisfies every rule, and the chain that vouches for it.

    ``seen`` is what the trust store remembers, ``known`` the keyset that was verified before, if it is at
    hand. Without ``now_ms`` an expired one is as good as a current one: fit for one's own, which a newer one
    replaces.

    Raises:
        KeysetRejectedError: it does not.

    """
    try:
        chain = verify_chain(
            signed,
            trust_domain=pin.trust_domain,
            namespace=pin.namespace,
            fingerprint=pin.fingerprint,
        )
        if seen is not None:
            check_progress(chain, seen)
        if now_ms is not None:
            check_time(chain, now_ms)
        if known is not None:
            check_same_keys(chain.keyset, known)
        ends_ms = (chain.expires_at_ms, *([] if pin.expires_at_ms is None else [pin.expires_at_ms]))
        return VerifiedKeyset(chain.keyset, min(ends_ms), chain.delegation.signer), chain
    except ChainError as error:
        raise KeysetRejectedError(error.problem, pin.namespace) from None
    except ValueError:
        raise KeysetRejectedError(ChainProblem.KEY, pin.namespace) from None
