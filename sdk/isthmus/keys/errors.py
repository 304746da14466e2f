"""What can go wrong with keysets, keyrings and trust."""

from pathlib import Path
from typing import Final

from isthmus.wire.chain import ChainError, ChainProblem


class KeysError(Exception):
    """Something about keys is not as it must be."""


class KeyringError(KeysError):
    """A keyring cannot be used: wrong passphrase, unsafe permissions, damaged or foreign file."""


class KeyFileExistsError(KeyringError):
    """A file of keys is not written over another one: keys that are lost are lost for good."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is one already: {path}; nothing is overwritten: name another file, or move this one away"
        )
        self.path = path


class CustodyError(KeyringError):
    """Whoever wraps the key of a keyring refuses, or answers with something that is not this key."""


class CustodyUnavailableError(CustodyError):
    """Whoever wraps the key of a keyring cannot be asked now: unreachable, sealed, throttled."""


class TrustError(KeysError):
    """A namespace or endpoint is not pinned, or pinned in a contradictory way."""


class BundleExpiredError(TrustError):
    """Only bundles vouch for a namespace or an endpoint, and they have ended."""

    def __init__(self, what: str, organizations: tuple[str, ...]) -> None:
        super().__init__(
            f"{what} is vouched for by the bundle of {' and '.join(organizations)} alone, which has ended:"
            " take the newest one in, with: isthmus trust bundle update FILE; or pin it yourself, with:"
            " isthmus trust add"
        )


class RecipientError(TrustError):
    """Somebody would read along, and nobody here consented to that. Nothing was sealed."""

    def __init__(self, namespace: str, endpoint: str, *, is_pinned: bool) -> None:
        how = f"isthmus trust add {namespace} --as-recipient"
        if not is_pinned:
            how += " --fingerprint SHA256:… (ask that team for it, not the gateway)"
        super().__init__(
            f"the owner of {endpoint} requires that everything is sealed to {namespace} as well, which nobody"
            f" here consented to; nothing was sealed. If {namespace} may read along: {how}"
        )
        self.namespace = namespace
        self.endpoint = endpoint


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


_ADVICE_ON_BUNDLES: Final = {
    ChainProblem.PIN: "the pinned root of the organization is not among those that vouch for it: compare the"
    " fingerprint with the people who hold that root",
    ChainProblem.TOO_FEW_SIGNERS: "it lacks signatures, see: isthmus trust bundle show FILE",
    ChainProblem.ROLLBACK: "a newer one was taken in before: look for the newest",
    ChainProblem.EQUIVOCATION: "another one with its number was taken in before: tell the people who sign",
    ChainProblem.EXPIRED: "look for a newer one, or ask the people who sign for one",
    ChainProblem.FUTURE: "compare the clocks of the two machines",
}


class BundleRejectedError(KeysError):
    """A bundle that the pinned root of its organization does not vouch for, or an older one."""

    def __init__(self, error: ChainError, organization: str) -> None:
        said = f"the bundle of {organization} is refused: {error.problem}: {error}"
        advice = _ADVICE_ON_BUNDLES.get(error.problem)
        super().__init__(said if advice is None else f"{said}; {advice}")
        self.problem = error.problem
        self.organization = organization


class NoSealingKeyError(KeysError):
    """A verified keyset has no active encryption key, or does not accept the suite."""


_MOVED: Final = (
    "if the endpoint was handed over, both teams say so: isthmus trust add … --endpoint … --move; otherwise"
    " report it to whoever operates the gateway"
)
_RECORD_ADVICE: Final = {
    ChainProblem.WITHHELD: f"there was one, and the gateway shows none now; {_MOVED}",
    ChainProblem.NAMESPACE: f"it is of another namespace than the pin says; {_MOVED}",
    ChainProblem.ROLLBACK: "a newer one was seen before: report it to whoever operates the gateway",
    ChainProblem.EQUIVOCATION: "another one with the same number was seen before: report it to that team",
    ChainProblem.NOT_THE_SIGNER: "that team signs it anew with: isthmus endpoint publish",
    ChainProblem.EXPIRED: "that team signs it anew with: isthmus endpoint publish",
    ChainProblem.FUTURE: "compare the clocks of the two machines",
}


class EndpointRecordRejectedError(KeysError):
    """What the gateway shows as signed by the owner of an endpoint is not, or is out of date."""

    def __init__(self, problem: ChainProblem, namespace: str, endpoint: str) -> None:
        said = f"the record of the endpoint {endpoint} of {namespace} is refused: {problem}"
        super().__init__(f"{said}; {_RECORD_ADVICE[problem]}" if problem in _RECORD_ADVICE else said)
        self.problem = problem
        self.namespace = namespace
        self.endpoint = endpoint
