"""Callers take turns: any tasks, any weights, any sizes of decisions."""

from collections import deque
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from isthmus.gateway.core.rotation import Rotation, take_turns

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
BACKLOGS = st.dictionaries(NAMES, st.integers(min_value=1, max_value=12), min_size=1)
WEIGHTS = st.dictionaries(NAMES, st.integers(min_value=1, max_value=4))
LIMITS = st.lists(st.integers(min_value=1, max_value=6), min_size=60, max_size=60)

Numbered = tuple[str, int]
"""A caller and the number of its task."""


class Queue:
    """What waits, and the rotation that the last decision ended with."""

    def __init__(self, backlog: Mapping[str, int], weights: Mapping[str, int] | None = None) -> None:
        self.waiting = {
            caller: deque((caller, number) for number in range(count)) for caller, count in backlog.items()
        }
        self.weights = weights or {}
        self.rotation = Rotation()

    def take(self, caller: str) -> Numbered | None:
        """Take the caller's next task."""
        waiting = self.waiting.get(caller)
        return waiting.popleft() if waiting else None

    def weight(self, caller: str) -> int:
        """How many tasks the caller's turn has."""
        return self.weights.get(caller, 1)

    def callers(self, limit: int) -> Sequence[str]:
        """Return who has tasks, as the store does."""
        names = sorted(caller for caller, waiting in self.waiting.items() if waiting)
        last = self.rotation.last
        in_turn = [name for name in names if name > last] + [name for name in names if name <= last]
        return in_turn[:limit]

    def decide(self, limit: int) -> list[Numbered]:
        """Take up to ``limit`` tasks."""
        taken, self.rotation = take_turns(self.rotation, self.callers(limit), self, limit)
        return taken

    def drain(self, limits: Sequence[int]) -> list[Numbered]:
        """Take everything, in decisions of these sizes."""
        return [task for limit in limits for task in self.decide(limit)]


@given(backlog=BACKLOGS, before=LIMITS, quiet=NAMES, served=st.integers(min_value=0, max_value=20))
def test_quiet_caller_is_served_within_one_round_when_others_have_a_backlog(
    backlog: dict[str, int], before: list[int], quiet: str, served: int
) -> None:
    """With F other callers its task is among the next F + 1, whatever went out before."""
    queue = Queue({caller: count for caller, count in backlog.items() if caller != quiet})
    queue.drain(before[:served])
    others = len(queue.callers(100))
    queue.waiting[quiet] = deque([(quiet, 0)])
    assert (quiet, 0) in queue.drain(before[served:])[: others + 1]


@given(backlog=BACKLOGS, weights=WEIGHTS, limits=LIMITS, quiet=NAMES, served=st.integers(0, 20))
def test_quiet_caller_waits_for_one_turn_of_each_when_callers_have_weights(
    backlog: dict[str, int], weights: dict[str, int], limits: list[int], quiet: str, served: int
) -> None:
    """The bound of a round with weights: what the others may take in a turn, then it."""
    queue = Queue({caller: count for caller, count in backlog.items() if caller != quiet}, weights)
    queue.drain(limits[:served])
    others = sum(queue.weight(caller) for caller in queue.callers(100))
    queue.waiting[quiet] = deque([(quiet, 0)])
    assert (quiet, 0) in queue.drain(limits[served:])[: others + 1]


@given(backlog=BACKLOGS, weights=WEIGHTS, limits=LIMITS)
def test_nothing_is_left_when_more_can_go_out(
    backlog: dict[str, int], weights: dict[str, int], limits: list[int]
) -> None:
    """Work conserving: a decision takes as much as it may, unless nothing more waits."""
    queue = Queue(backlog, weights)
    left = sum(backlog.values())
    for limit in limits:
        taken = len(queue.decide(limit))
        assert taken == min(limit, left)
        left -= taken


@given(backlog=BACKLOGS, weights=WEIGHTS, limits=LIMITS)
def test_tasks_of_a_caller_stay_in_order_when_callers_take_turns(
    backlog: dict[str, int], weights: dict[str, int], limits: list[int]
) -> None:
    """Each caller's tasks go out in their order, each once."""
    gone = Queue(backlog, weights).drain(limits)
    for caller in backlog:
        numbers = [number for name, number in gone if name == caller]
        assert numbers == list(range(len(numbers)))


@given(
    callers=st.sets(NAMES, min_size=2),
    weights=WEIGHTS,
    limits=LIMITS,
    rounds=st.integers(min_value=1, max_value=3),
)
def test_weights_are_respected_when_every_caller_has_a_backlog(
    callers: set[str], weights: dict[str, int], limits: list[int], rounds: int
) -> None:
    """Over whole rounds each caller gets its weight, however the decisions cut them up."""
    queue = Queue(dict.fromkeys(callers, 1000), weights)
    window = rounds * sum(queue.weight(caller) for caller in callers)
    gone = [caller for caller, _ in queue.drain([*limits, window])][:window]
    assert {caller: gone.count(caller) for caller in callers} == {
        caller: rounds * queue.weight(caller) for caller in callers
    }


@given(backlog=BACKLOGS, weights=WEIGHTS, limits=LIMITS)
def test_order_is_the_same_when_decisions_have_other_sizes(
    backlog: dict[str, int], weights: dict[str, int], limits: list[int]
) -> None:
    """A turn survives from one decision to the next: one by one or all at once makes no difference."""
    one_by_one = Queue(backlog, weights).drain([1] * sum(backlog.values()))
    assert Queue(backlog, weights).drain(limits) == one_by_one[: sum(limits)]


def test_turn_ends_when_its_caller_has_nothing_left() -> None:
    """What is left of it goes to nobody: the next caller's turn has its own length."""
    queue = Queue({"a": 1, "b": 5, "c": 5}, {"a": 3})
    assert [caller for caller, _ in queue.drain([5])] == ["a", "b", "c", "b", "c"]
    assert queue.rotation == Rotation(last="c")
