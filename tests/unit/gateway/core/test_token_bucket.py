"""How often something may happen, at any times."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.manual_time import START

from isthmus.gateway.core.token_bucket import TokenBucket, pay, put_back, take

RATES = st.integers(min_value=1, max_value=50)
GAPS = st.lists(st.integers(min_value=0, max_value=2_000), max_size=60)


@given(per_second=RATES, gaps_ms=GAPS)
def test_no_window_has_more_than_its_share_when_takes_come_at_any_time(
    per_second: int, gaps_ms: list[int]
) -> None:
    """In any window: what the window gives, and one second's worth."""
    bucket: TokenBucket | None = None
    at_ms, taken = 0, []
    for gap in gaps_ms:
        at_ms += gap
        bucket, wait = take(bucket, per_second, START + timedelta(milliseconds=at_ms))
        if not wait:
            taken.append(at_ms)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            seconds = (taken[last] - taken[first]) / 1000
            assert last - first + 1 <= per_second * (seconds + 1) + 1e-6


@given(per_second=RATES, before=st.integers(min_value=0, max_value=200))
def test_token_is_there_when_the_wait_is_over(per_second: int, before: int) -> None:
    """Whoever waits as long as it was told gets one, and not before."""
    bucket, wait = take(None, per_second, START)
    for _ in range(before):
        bucket, wait = take(bucket, per_second, START)
    if wait:
        early = START + timedelta(seconds=wait * 0.9)
        assert take(bucket, per_second, early)[1] > 0
        assert take(bucket, per_second, START + timedelta(seconds=wait, microseconds=1))[1] == 0


def test_second_is_the_burst_when_the_bucket_was_left_alone() -> None:
    """However long nothing was taken."""
    bucket, _ = take(None, 3, START)
    waits = []
    for _ in range(4):
        bucket, wait = take(bucket, 3, START + timedelta(hours=5))
        waits.append(wait > 0)
    assert waits == [False, False, False, True]


def test_bucket_fills_on_when_the_clock_was_set_back() -> None:
    """An hour back is no hour of waiting."""
    bucket, _ = take(None, 1, START)
    bucket, wait = take(bucket, 1, START - timedelta(hours=1))
    assert wait == 1
    assert take(bucket, 1, START - timedelta(hours=1) + timedelta(seconds=1))[1] == 0


def test_token_can_be_taken_again_when_it_was_put_back() -> None:
    """What was not used is not lost."""
    bucket, _ = take(None, 1, START)
    assert take(put_back(bucket), 1, START)[1] == 0


def test_bucket_owes_when_more_was_taken_elsewhere_than_it_had() -> None:
    """Time pays it back; a bucket that nobody used here yet was full."""
    bucket = pay(None, 2, 5, START)
    assert bucket.tokens == -3
    bucket, wait = take(bucket, 2, START)
    assert wait == 2.0
    _, wait = take(bucket, 2, START + timedelta(seconds=2))
    assert wait == 0.0
