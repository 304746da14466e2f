"""What the caller's log, the handlers' ledgers and the store say, as values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """The caller was told that its job is a durable operation."""

    number: int
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The caller was told how an operation ended; it may ask more than once."""

    number: int
    operation_id: str
    ending: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A handler ran, and was about to answer with this digest."""

    operation_id: str
    number: int
    attempt: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An operation in the store, and how many audit records tell of its start and of its end."""

    operation_id: str
    state: str
    outcome_digest: str
    starts: int
    ends: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerLog:
    """Everything that the caller wrote down."""

    intended: tuple[int, ...]
    acknowledged: tuple[Acknowledged, ...]
    received: tuple[Received, ...]

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]]) -> "CallerLog":
        """Read the lines of the caller's journal."""
        intended: list[int] = []
        acknowledged: list[Acknowledged] = []
        received: list[Received] = []
        for line in lines:
            values = {name: value for name, value in line.items() if name != "event"}
            match line["event"]:
                case "intended":
                    intended.append(values["number"])
                case "acknowledged":
                    acknowledged.append(Acknowledged(**values))
                case "received":
                    received.append(Received(**values))
                case unknown:
                    raise AssertionError(unknown)
        return cls(intended=tuple(intended), acknowledged=tuple(acknowledged), received=tuple(received))
