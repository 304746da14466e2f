"""The plan of faults repeats itself for a seed, and leaves out nothing."""

from collections.abc import Iterator
from itertools import chain, islice

from tests.faults.plan import PARTS, Fault, FaultKind, faults

KINDS = frozenset(FaultKind)


def each(seed: int, kinds: frozenset[FaultKind] = KINDS) -> Iterator[Fault]:
    """Yield every fault of a plan, whether or not it comes alone."""
    return chain.from_iterable(faults(seed, kinds))


def test_plan_is_the_same_when_the_seed_is_the_same() -> None:
    """And another one for another seed."""
    first, again, other = (list(islice(faults(seed, KINDS), 100)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_plan_has_every_kind_when_it_is_as_long_as_there_are_kinds() -> None:
    """In each round, in an order of its own."""
    plan = [fault.kind for fault in islice(each(7), 2 * len(KINDS))]
    first, second = plan[: len(KINDS)], plan[len(KINDS) :]
    assert set(first) == set(second) == KINDS
    assert first != second


def test_plan_has_no_other_kind_when_some_are_excluded() -> None:
    """A store without a server cannot have it stopped."""
    kinds = KINDS - {FaultKind.RESTART_DATABASE}
    assert {fault.kind for fault in islice(each(7, kinds), 100)} == kinds


def test_faults_overlap_when_two_come_together() -> None:
    """The second begins while the first lasts, at another part; many come alone, too."""
    plan = list(islice(faults(7, KINDS), 200))
    assert {len(step) for step in plan} == {1, 2}
    pairs = [step for step in plan if len(step) == 2]
    for first, second in pairs:
        assert PARTS[first.kind] is not PARTS[second.kind]
        assert 0 <= second.calm_seconds - first.calm_seconds <= first.lasts_seconds
    assert len({frozenset(fault.kind for fault in pair) for pair in pairs}) > len(KINDS)
