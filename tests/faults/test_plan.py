"""The plan of faults repeats itself for a seed, and leaves out nothing."""

from itertools import islice

from tests.faults.plan import FaultKind, faults

KINDS = frozenset(FaultKind)


def test_plan_is_the_same_when_the_seed_is_the_same() -> None:
    """And another one for another seed."""
    first, again, other = (list(islice(faults(seed, KINDS), 100)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_plan_has_every_kind_when_it_is_as_long_as_there_are_kinds() -> None:
    """In each round, in an order of its own."""
    plan = [fault.kind for fault in islice(faults(7, KINDS), 2 * len(KINDS))]
    first, second = plan[: len(KINDS)], plan[len(KINDS) :]
    assert set(first) == set(second) == KINDS
    assert first != second


def test_plan_has_no_other_kind_when_some_are_excluded() -> None:
    """A store without a server cannot have it stopped."""
    kinds = KINDS - {FaultKind.RESTART_DATABASE}
    assert {fault.kind for fault in islice(faults(7, kinds), 100)} == kinds
