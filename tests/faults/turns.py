"""How often other callers had a turn while an operation waited, and how often they may. Pure.

What is promised: while a caller's operation waits, each gateway gives each other caller one turn at most, as
all weights are 1. So with F others and G gateways, at most F times G go out before it. It is judged where the
operation is its caller's only one: a caller's own operations stand in line behind each other.

The one gateway of a store does one thing after the other, so that every turn counts that is on record behind
the start. Of several, each may have a lease under way that does not see the operation: it began before the
start was committed, or while another gateway was handing the operation out. Such a lease may be on record
behind the start and before the dispatch all the same. So a lease counts if it

- began after the caller was told that its operation is there, and
- had ended when the lease began that took the operation. A worker's next lease begins when its last one has
  ended, and what is on record before one that has ended has ended, too.

The last one of the worker that got the operation does not count: another gateway may have been about to hand
the operation out, and have had to begin again.

A start that goes straight to a worker takes nobody's turn: its gateway knows of nothing that waits. It counts
only where its gateway should have known for long.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.records import ENDS, GOES_OUT, WAITS, History, QueueEvent, Trouble
from tests.faults.troubles import healthy_us

TOLD_AFTER_US = 1_000_000
"""In this time a healthy gateway learns of a start at another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """An operation that waited alone, until it went out.

    ``turns`` are those of each other caller that count, ``allowed`` how many each may have.
    """

    event: QueueEvent
    turns: Mapping[str, int]
    allowed: int
    has_second_turn: bool
    """Whether one lease served another caller twice."""

    @property
    def most_turns(self) -> int:
        """How many turns another caller had."""
        return max(self.turns.values(), default=0)

    @property
    def is_unfair(self) -> bool:
        """Whether others had more turns than they may have."""
        return self.most_turns > self.allowed or self.has_second_turn


@dataclass(frozen=True, slots=True)
class _Turn:
    event: QueueEvent
    is_straight: bool
    """Whether it was a start that went straight to a worker."""


def waits_of(history: History) -> Iterator[Wait]:
    """Yield each operation that waited while it was its caller's only one."""
    told_us = {
        entry.operation_id: its.moments.acknowledged_us[entry.number]
        for its in history.callers.values()
        for entry in its.log.acknowledged
    }
    open_operations: dict[str, set[str]] = defaultdict(set)
    waiting: dict[str, tuple[QueueEvent, list[_Turn]]] = {}
    for event in history.queue:
        its_open = open_operations[event.caller]
        match event.what:
            case what if what == WAITS:
                if not its_open:
                    waiting[event.operation_id] = (event, [])
                its_open.add(event.operation_id)
            case what if what == GOES_OUT:
                if event.operation_id in waiting:
                    begin, passed = waiting.pop(event.operation_id)
                    yield _judge(begin, event, passed, told_us.get(event.operation_id), history)
                turn = _Turn(event, event.operation_id not in its_open)
                for begin, passed in waiting.values():
                    if begin.caller != event.caller:
                        passed.append(turn)
                its_open.add(event.operation_id)
            case what if what == ENDS:
                waiting.pop(event.operation_id, None)
                its_open.discard(event.operation_id)
            case unknown:
                raise AssertionError(unknown)


def _judge(
    begin: QueueEvent, end: QueueEvent, passed: Sequence[_Turn], told_us: int | None, history: History
) -> Wait:
    if history.gateways == 1:
        counted = [turn.event for turn in passed]
    elif told_us is None:
        counted = []
    else:
        counted = _counted(passed, end, told_us, history.troubles)
    in_one_lease = Counter((event.session, event.at_us, event.caller) for event in counted)
    return Wait(
        event=begin,
        turns=Counter(event.caller for event in counted),
        allowed=history.gateways + _new_rounds(begin, end, history.troubles),
        has_second_turn=history.gateways > 1 and any(times > 1 for times in in_one_lease.values()),
    )


def _counted(
    passed: Sequence[_Turn], end: QueueEvent, told_us: int, troubles: Sequence[Trouble]
) -> list[QueueEvent]:
    """Return the turns of leases that saw the operation, among several gateways."""
    leased = [turn.event for turn in passed if not turn.is_straight and turn.event.at_us < end.at_us]
    straight = [turn.event for turn in passed if turn.is_straight and turn.event.at_us < end.at_us]
    # To each worker, when the last lease began that is on record behind a place.
    next_us = {end.session: end.at_us}
    last_of_taker_us = max((event.at_us for event in leased if event.session == end.session), default=0)
    counted: list[QueueEvent] = []
    has_ended = False
    for event in reversed(leased):
        has_ended = has_ended or event.at_us < next_us.get(event.session, 0)
        next_us[event.session] = max(event.at_us, next_us.get(event.session, 0))
        if has_ended and told_us < event.at_us != last_of_taker_us:
            counted.append(event)
    counted += [event for event in straight if healthy_us(told_us, event.at_us, troubles) > TOLD_AFTER_US]
    return counted


def _new_rounds(begin: QueueEvent, end: QueueEvent, troubles: Sequence[Trouble]) -> int:
    """Return how many rounds may have begun anew meanwhile."""
    return sum(
        trouble.new_rounds
        for trouble in troubles
        if trouble.begin_us <= end.at_us and begin.at_us <= trouble.end_us
    )
