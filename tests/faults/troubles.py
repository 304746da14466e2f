"""Keeps account of what keeps a gateway from its work: faults, and a machine that stalls."""

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from tests.faults.records import Trouble

_LOOK_SECONDS = 0.05
# A thread that asked for 50 ms and got this much more: nobody on this machine got the time that he needed.
_STALL_SECONDS = 0.2


def now_us() -> int:
    """Return the time in microseconds."""
    return time.time_ns() // 1000


def healthy_us(begin_us: int, end_us: int, troubles: Sequence[Trouble]) -> int:
    """Return for how long there was no trouble between two moments, all stretches together."""
    healthy, since = 0, begin_us
    for trouble in sorted(troubles, key=lambda each: each.begin_us):
        if trouble.begin_us >= end_us:
            break
        healthy += max(0, trouble.begin_us - since)
        since = max(since, trouble.end_us)
    return healthy + max(0, end_us - since)


class Troubles:
    """The account. While it is open, it watches the machine itself, too."""

    def __init__(self) -> None:
        self._entries: list[Trouble] = []
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="stalls", daemon=True)
        self._watcher.start()

    @contextmanager
    def while_(self, why: str, *, new_rounds: int = 0) -> Generator[None]:
        """Write down that there is trouble until the block ends, and how many rounds begin anew."""
        begin = now_us()
        try:
            yield
        finally:
            self._entries.append(Trouble(why=why, begin_us=begin, end_us=now_us(), new_rounds=new_rounds))

    def all(self) -> tuple[Trouble, ...]:
        """Return what was written down so far."""
        return tuple(self._entries)

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._closing.is_set():
            begin, began = now_us(), time.monotonic()
            self._closing.wait(_LOOK_SECONDS)
            if time.monotonic() - began > _LOOK_SECONDS + _STALL_SECONDS:
                self._entries.append(Trouble(why="the machine stalled", begin_us=begin, end_us=now_us()))
