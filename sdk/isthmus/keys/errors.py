"""What can go wrong with keysets, keyrings and trust."""

from enum import StrEnum, unique


class KeysError(Exception):
    """Something about keys is not as it must be."""


class KeyringError(KeysError):
    """A keyring cannot be used: wrong passphrase, unsafe permissions, damaged or foreign file."""


class TrustError(KeysError):
    """A namespace or endpoint is not pinned, or pinned in a contradictory way."""


class DirectoryUnreachableError(KeysError):
    """The gateway could not be asked for a keyset."""


@unique
class KeysetProblem(StrEnum):
    """Which rule a keyset broke."""

    MALFORMED = "malformed"
    ROOT = "root"
    SIGNATURE = "signature"
    NAMESPACE = "namespace"
    TRUST_DOMAIN = "trust-domain"
    ROLLBACK = "rollback"
    EQUIVOCATION = "equivocation"
    CHAIN = "chain"
    EXPIRED = "expired"
    FUTURE = "future"
    KEY_ID = "key-id"
    DUPLICATE = "duplicate"
    KEY_CHANGED = "key-changed"
    KEY_STATE = "key-state"
    KEY = "key"


class KeysetRejectedError(KeysError):
    """A keyset that is not what the pinned root signed last. Nothing is sealed on its word."""

    def __init__(self, problem: KeysetProblem, namespace: str) -> None:
        super().__init__(f"the keyset of {namespace} is refused: {problem}")
        self.problem = problem
        self.namespace = namespace


class NoSealingKeyError(KeysError):
    """A verified keyset has no active encryption key, or does not accept the suite."""
