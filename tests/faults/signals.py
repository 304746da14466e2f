"""What callers signaled and handlers heard, and the check that joins both. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class SignalProblem(StrEnum):
    """What must never happen to a signal."""

    MISSED = "an acknowledged signal was not heard by the attempt that answered"
    DISORDER = "signals of one sender were not heard as 1, 2, 3 by an attempt"
    CHANGED = "a signal was another one when it was delivered again"
    INVENTED = "a signal was heard that nobody sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signaled:
    """A caller was about to send a signal to its job, or was told that it is durable."""

    operation_id: str
    value: int
    is_acknowledged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A run of a handler read a signal. Each sender numbers its own from 1."""

    operation_id: str
    run: str
    session: str
    sequence: int
    value: int


def read_signaled(lines: Iterable[Mapping[str, Any]]) -> tuple[Signaled, ...]:
    """Read the signals in a caller's journal."""
    return tuple(
        Signaled(
            operation_id=line["operation_id"],
            value=line["value"],
            is_acknowledged=line["event"] == "signaled",
        )
        for line in lines
        if line["event"] in {"signaling", "signaled"}
    )


def read_heard(lines: Iterable[Mapping[str, Any]]) -> tuple[Heard, ...]:
    """Read the signals in a handler's ledger."""
    return tuple(
        Heard(**{name: value for name, value in line.items() if name != "event"})
        for line in lines
        if line.get("event") == "heard"
    )


def check_signals(
    signaled: Sequence[Signaled], heard: Sequence[Heard], answered: Mapping[str, str]
) -> Iterator[tuple[SignalProblem, str, str]]:
    """Yield the problem, the operation and a detail of all that is wrong.

    ``answered`` tells which run made the outcome of an operation. That run has to have heard whatever was
    acknowledged: its caller sends nothing after the last signal, and the handler answers after that.
    """
    sent = {(entry.operation_id, entry.value) for entry in signaled}
    values_of: dict[str, set[int]] = defaultdict(set)
    heard_so_far: dict[tuple[str, str], int] = defaultdict(int)
    known: dict[tuple[str, str, int], int] = {}
    for entry in heard:
        values_of[entry.run].add(entry.value)
        expected = heard_so_far[entry.run, entry.session] + 1
        if entry.sequence != expected:
            detail = f"{entry.session}: {entry.sequence} instead of {expected}"
            yield SignalProblem.DISORDER, entry.operation_id, detail
        heard_so_far[entry.run, entry.session] = entry.sequence
        first = known.setdefault((entry.operation_id, entry.session, entry.sequence), entry.value)
        if first != entry.value:
            yield SignalProblem.CHANGED, entry.operation_id, f"{first}, then {entry.value}"
        if (entry.operation_id, entry.value) not in sent:
            yield SignalProblem.INVENTED, entry.operation_id, str(entry.value)
    for operation_id, value in sorted({(e.operation_id, e.value) for e in signaled if e.is_acknowledged}):
        run = answered.get(operation_id)
        if run is not None and value not in values_of[run]:
            yield SignalProblem.MISSED, operation_id, str(value)
