"""Interrupts for workers that poll: kept once, bounded, for sessions that ask here."""

from tests.contract.samples import SESSION, key

from isthmus.gateway.dispatch import interrupt_box
from isthmus.gateway.dispatch.interrupt_box import InterruptBox
from isthmus.gateway.ports import TaskInterrupted

INTERRUPT = TaskInterrupted(session_id=SESSION, key=key(1), attempt=1, cancel=None)


def test_interrupt_is_taken_once_when_session_polls() -> None:
    """What was taken is gone."""
    box = InterruptBox()
    assert not box.open(SESSION)
    box.put(INTERRUPT)
    assert box.open(SESSION)
    assert box.take(SESSION) == [INTERRUPT]
    assert box.take(SESSION) == []


def test_nothing_is_kept_when_session_does_not_poll_here() -> None:
    """Sessions of streams and of other gateways take no memory."""
    box = InterruptBox()
    box.put(INTERRUPT)
    assert box.take(SESSION) == []
    box.open(SESSION)
    box.forget(SESSION)
    box.put(INTERRUPT)
    assert box.take(SESSION) == []


def test_box_is_bounded_when_many_come() -> None:
    """Neither sessions nor interrupts grow without limit."""
    box = InterruptBox()
    box.open(SESSION)
    for _ in range(interrupt_box.MAX_INTERRUPTS + 1):
        box.put(INTERRUPT)
    assert len(box.take(SESSION)) == interrupt_box.MAX_INTERRUPTS
    for number in range(interrupt_box.MAX_SESSIONS):
        box.open(number.to_bytes(16))
    assert not box.open(SESSION), "the session that asked longest ago is forgotten"
