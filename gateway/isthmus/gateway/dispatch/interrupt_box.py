"""Interrupts for workers that poll: kept until the session asks, bounded, and lost without harm.

An operation goes on without them, and what they free on the worker's side comes free later: workers state
what they have run for long.
"""

from collections import OrderedDict

from isthmus.gateway.ports import TaskInterrupted

MAX_SESSIONS = 10_000
MAX_INTERRUPTS = 256


class InterruptBox:
    """One box for each session that polls; the sessions that asked longest ago are forgotten first."""

    def __init__(self) -> None:
        self._boxes: OrderedDict[bytes, list[TaskInterrupted]] = OrderedDict()

    def open(self, session_id: bytes) -> bool:
        """Keep interrupts of the session from now on; return whether it was known."""
        known = session_id in self._boxes
        self._boxes.setdefault(session_id, [])
        self._boxes.move_to_end(session_id)
        while len(self._boxes) > MAX_SESSIONS:
            self._boxes.popitem(last=False)
        return known

    def put(self, interrupt: TaskInterrupted) -> None:
        """Keep an interrupt, if its session polls here."""
        box = self._boxes.get(interrupt.session_id)
        if box is not None and len(box) < MAX_INTERRUPTS:
            box.append(interrupt)

    def take(self, session_id: bytes) -> list[TaskInterrupted]:
        """Return what the session has not seen."""
        box = self._boxes.get(session_id)
        if not box:
            return []
        self._boxes[session_id] = []
        return box

    def forget(self, session_id: bytes) -> None:
        """The session is lost."""
        self._boxes.pop(session_id, None)
