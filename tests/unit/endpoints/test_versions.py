"""Which version an operation goes to: the same one at each attempt, and the shares are kept."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.endpoints.settings import EndpointSettings
from isthmus.endpoints.versions import Target, VersionSettings, VersionShare, target_of

ids = st.binary(min_size=16, max_size=16)
percents = st.integers(min_value=0, max_value=100)


def ramp(**shares: int) -> VersionSettings:
    """Return a ramp."""
    return VersionSettings(
        ramp=tuple(VersionShare(version=version, percent=percent) for version, percent in shares.items())
    )


@given(ids, percents, percents)
def test_operation_stays_in_its_share_when_that_grows(operation_id: bytes, one: int, other: int) -> None:
    """Raising a share takes nobody back who was in it."""
    smaller, larger = sorted((one, other))
    if target_of(ramp(v2=smaller), operation_id, present=frozenset()).takes("v2"):
        assert target_of(ramp(v2=larger), operation_id, present=frozenset()).takes("v2")


@given(ids, percents)
def test_operation_is_for_one_side_when_there_is_a_ramp(operation_id: bytes, percent: int) -> None:
    """Either for the version that is named, or for every other one."""
    target = target_of(ramp(v2=percent), operation_id, present=frozenset())
    assert target.takes("v2") != target.takes("v1")
    assert target.takes("v1") == target.takes("") == target.takes("v3")


@given(ids, percents)
def test_operation_stays_with_who_began_it_when_it_is_pinned(operation_id: bytes, percent: int) -> None:
    """As long as a worker of that version is there; then the ramp decides as if nobody had begun it."""
    settings = VersionSettings(ramp=ramp(v2=percent).ramp, pin=True)
    assert target_of(settings, operation_id, begun_by="v0", present={"v0", "v2"}) == Target(version="v0")
    unpinned = target_of(ramp(v2=percent), operation_id, present=frozenset())
    assert target_of(settings, operation_id, begun_by="v0", present={"v2"}) == unpinned
    assert target_of(settings, operation_id, present={"v0"}) == unpinned


def test_shares_are_kept_when_there_are_many_operations() -> None:
    """Ids of clients are random; a hash makes ids of others so."""
    settings = ramp(v2=10, v3=25)
    went: Counter[str] = Counter()
    for number in range(10_000):
        target = target_of(settings, number.to_bytes(16), present=frozenset())
        went[target.version] += 1
    assert 900 < went["v2"] < 1100
    assert 2350 < went["v3"] < 2650


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (ramp(v2=60, v3=41), "at most 100 percent together"),
        (ramp(v2=-1), "0 or more"),
        (ramp(**{"": 5}), "1 to 200 printable characters"),
        (ramp(**{"a\nb": 5}), "1 to 200 printable characters"),
        (VersionSettings(ramp=(VersionShare(version="v2", percent=1),) * 2), "each once"),
        (ramp(**{f"v{number}": 1 for number in range(11)}), "at most 10 versions"),
    ],
)
def test_ramp_is_refused_when_it_makes_no_sense(settings: VersionSettings, problem: str) -> None:
    """Said before it is stored."""
    assert problem in "; ".join(EndpointSettings(task_queue="q", versions=settings).problems())


def test_ramp_is_taken_when_it_makes_sense() -> None:
    """All of the traffic, or none of it for a version that is to go."""
    assert list(EndpointSettings(task_queue="q", versions=ramp(v1=90, v2=10, v3=0)).problems()) == []
