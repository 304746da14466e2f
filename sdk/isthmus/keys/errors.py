"""What can go wrong with keysets, keyrings and trust."""

from typing import Final

from isthmus.wire.chain import ChainProblem


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


_ADVICE: Final = {
    ChainProblem.PIN: "the pinned root is not among those that vouch for it: compare the fingerprint with"
    " that team, not by way of the gateway, and pin it again only if it is theirs (isthmus trust)",
    ChainProblem.ROLLBACK: "a newer one was seen before: report it to whoever operates the gateway",
    ChainProblem.EQUIVOCATION: "another one with the same number was seen before: report it to that team",
    ChainProblem.EXPIRED: "that team keeps it alive with: isthmus keys renew",
    ChainProblem.DELEGATION_EXPIRED: "that team's root delegates anew with: isthmus keys delegate",
    ChainProblem.FUTURE: "compare the clocks of the two machines",
}
"""What to do about the problems that people meet; the others are damage or attacks."""


class KeysetRejectedError(KeysError):
    """A keyset that the pinned root does not vouch for. Nothing is sealed on its word."""

    def __init__(self, problem: ChainProblem, namespace: str) -> None:
        said = f"the keyset of {namespace} is refused: {problem}"
        super().__init__(f"{said}; {_ADVICE[problem]}" if problem in _ADVICE else said)
        self.problem = problem
        self.namespace = namespace


class NoSealingKeyError(KeysError):
    """A verified keyset has no active encryption key, or does not accept the suite."""
