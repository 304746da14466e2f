"""Whether a principal may do something: the question, the answer, and who answers it."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from isthmus.endpoints.endpoint import Endpoint


class Action(Enum):
    """What a principal can ask for."""

    START = "start"
    CANCEL = "cancel"
    SIGNAL = "signal"
    READ = "read"
    SERVE = "serve"
    ADMINISTER = "administer"
    REDRIVE = "redrive"
    TERMINATE = "terminate"
    PUBLISH = "publish"
    RECEIVE = "receive"

    # Members are singletons; Enum's own hash is a Python function, and these are looked up for every call.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this namespace do this with this operation of this endpoint?

    ``platform`` is whether the principal administers the deployment.
    """

    action: Action
    namespace: str
    principal: str
    endpoint: Endpoint
    service: str = ""
    operation: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    payload_bytes: int = 0
    platform: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer, and the rule that gave it: audited with every call."""

    allowed: bool
    rule: str


class Authorizer(Protocol):
    """Answers questions. Pure: the same question gets the same answer until its rules change."""

    def decide(self, question: Question) -> Decision:
        """Decide; whatever goes wrong while deciding must come out as a denial."""
        ...
