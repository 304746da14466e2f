"""What can go wrong with keysets, keyrings and trust."""

from enum import StrEnum, unique
from typing import Final


class KeysError(Exception):
    """Something about keys is not as it must be."""


class KeyringError(KeysError):
    """A keyring cannot be used: wrong passphrase, unsafe permissions, damaged or foreign file."""


class CustodyError(KeyringError):
    """Whoever wraps the key of a keyring refuses, or answers with something that is not this key."""


class CustodyUnavailableError(CustodyError):
    """Whoever wraps the key of a keyring cannot be asked now: unreachable, sealed, throttled."""


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


_ADVICE: Final = {
    KeysetProblem.ROOT: "another root signed it than the one that is pinned: compare the fingerprint with"
    " that team, not by way of the gateway, and pin it again only if it is theirs (isthmus trust)",
    KeysetProblem.ROLLBACK: "a newer one was seen before: report it to whoever operates the gateway",
    KeysetProblem.EQUIVOCATION: "another one with the same number was seen before: report it to that team",
    KeysetProblem.EXPIRED: "that team publishes a fresh one with: isthmus keys publish",
    KeysetProblem.FUTURE: "compare the clocks of the two machines",
}
"""What to do about the problems that people meet; the others are damage or attacks."""


class KeysetRejectedError(KeysError):
    """A keyset that is not what the pinned root signed last. Nothing is sealed on its word."""

    def __init__(self, problem: KeysetProblem, namespace: str) -> None:
        said = f"the keyset of {namespace} is refused: {problem}"
        super().__init__(f"{said}; {_ADVICE[problem]}" if problem in _ADVICE else said)
        self.problem = problem
        self.namespace = namespace


class NoSealingKeyError(KeysError):
    """A verified keyset has no active encryption key, or does not accept the suite."""
