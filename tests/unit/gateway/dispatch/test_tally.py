"""Numbers that only grow, with a bounded number of labels."""

from isthmus.gateway.dispatch import tally
from isthmus.gateway.dispatch.tally import OTHERS, Tally


def test_numbers_add_up_when_counted() -> None:
    """Each label for itself; what was returned does not change any more."""
    counted = Tally()
    counted.add("a")
    before = counted.counts()
    counted.add("a", 2)
    counted.add("b")
    assert before == {"a": 1}
    assert counted.counts() == {"a": 3, "b": 1}


def test_new_labels_share_one_when_there_are_too_many() -> None:
    """Known labels go on; nothing is lost, and memory is bounded."""
    counted = Tally()
    for number in range(tally.MAX_LABELS + 3):
        counted.add(str(number))
    counted.add("0")
    counts = counted.counts()
    assert len(counts) == tally.MAX_LABELS + 1
    assert (counts["0"], counts[OTHERS]) == (2, 3)
