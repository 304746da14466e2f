"""The contract between the caller and the handler of the kill test."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import nexusrpc

FAILURES_PER = 10
RETRIES_PER = 13
_FAILING, _RETRIED = 3, 5


class Ending(StrEnum):
    """How a job is meant to end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that the caller numbers."""

    number: int

    @property
    def ending(self) -> Ending:
        """How the handler ends it: some fail, so that failures are outcomes too."""
        return Ending.FAILED if self.number % FAILURES_PER == _FAILING else Ending.SUCCEEDED

    @property
    def fails_first(self) -> bool:
        """Whether the first attempt raises something that is tried again."""
        return self.number % RETRIES_PER == _RETRIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The result of one run of the handler, different in every run."""

    number: int
    attempt: int
    nonce: str

    @property
    def digest(self) -> str:
        """What the ledger, the caller's log and the outcome agree on."""
        return hashlib.sha256(f"{self.number}/{self.attempt}/{self.nonce}".encode()).hexdigest()


@nexusrpc.service
class Jobs:
    """What app-team serves."""

    run: nexusrpc.Operation[Job, Receipt]
