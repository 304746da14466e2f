"""When attempts stop for a while: circuit breakers, counted per caller first, then for everybody.

A **line** is the operations of one caller at one endpoint and task queue; the line of nobody in particular
(``EVERYBODY``) is all of them. After so many failed attempts of a line in a row its circuit opens: its
operations wait, they do not fail. When the time is over, one attempt goes out as a probe. If it fails, the
circuit stays open for as long again; if the handler answers, whatever it answers, the circuit closes.

One caller alone never opens the circuit of everybody: of a row it makes up half at most, so it takes the
failures of at least two, and no answer to anybody in between.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum

from msgspec.structs import replace

from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.core.value import Value

EVERYBODY = ""


class Line(Value):
    """Whose attempts are counted together; ``caller`` is a namespace, or EVERYBODY."""

    endpoint: str
    task_queue: str
    caller: str


class Probe(Value):
    """The attempt that finds out whether it works again."""

    key: OperationKey
    attempt: int


class Circuit(Value):
    """A circuit that is open. Without a probe, from ``until`` on, the next attempt is one.

    ``error`` is the type of the failure that opened it, or kept it open.
    """

    line: Line
    handler: str
    since: datetime
    until: datetime
    error: str
    probe: Probe | None = None

    def takes_probe(self, now: datetime) -> bool:
        """Whether the next attempt of the line may go out, as a probe."""
        return self.probe is None and now >= self.until


class Verdict(Enum):
    """What became of a probe."""

    UNDER_WAY = "under_way"
    ANSWERED = "answered"
    UNDECIDED = "undecided"


class Streaks(Value):
    """Failed attempts in a row at one endpoint and task queue. Callers without any are left out.

    ``of_callers`` counts each caller's own, ``of_everybody`` what each of them contributes to the row of all.
    """

    of_callers: Mapping[str, int] = {}
    of_everybody: Mapping[str, int] = {}

    def __bool__(self) -> bool:
        """Whether anything failed since the last answer."""
        return bool(self.of_callers or self.of_everybody)


def count_failure(streaks: Streaks, caller: str, failures: int) -> tuple[Streaks, tuple[str, ...]]:
    """Count a failed attempt; return the callers of the lines whose circuit opens. They begin anew.

    Args:
        streaks: what was counted before.
        caller: whose attempt failed.
        failures: how many in a row open a circuit, at least 1.
    """
    of_callers = dict(streaks.of_callers)
    of_everybody = dict(streaks.of_everybody)
    opened: list[str] = []
    of_callers[caller] = of_callers.get(caller, 0) + 1
    if of_callers[caller] >= failures:
        del of_callers[caller]
        opened.append(caller)
    share = max(1, failures // 2)
    of_everybody[caller] = min(share, of_everybody.get(caller, 0) + 1)
    if len(of_everybody) > 1 and sum(of_everybody.values()) >= failures:
        of_everybody.clear()
        opened.append(EVERYBODY)
    return Streaks(of_callers=of_callers, of_everybody=of_everybody), tuple(opened)


def count_answer(streaks: Streaks, caller: str) -> Streaks:
    """Count an answer of the handler: the row of this caller, and that of everybody, is over."""
    return Streaks(of_callers={name: count for name, count in streaks.of_callers.items() if name != caller})


def judge(probe: Probe, operation: Operation | None) -> Verdict:
    """Return what became of a probe that is not known to have failed.

    A failed one is noted in the commit that ends its attempt. So one whose attempt is over without that was
    answered, or it was taken away: returned by its worker, canceled, timed out, terminated.
    """
    if operation is None or operation.attempt != probe.attempt:
        return Verdict.UNDECIDED
    if operation.state is State.DISPATCHED:
        return Verdict.UNDER_WAY
    is_answered = operation.outcome is not None and operation.statement is None
    return Verdict.ANSWERED if is_answered or operation.state is State.STARTED else Verdict.UNDECIDED


def reopened(circuit: Circuit, error: str, open_for: timedelta, now: datetime) -> Circuit:
    """Return the circuit after its probe failed."""
    return replace(circuit, until=now + open_for, error=error, probe=None)
