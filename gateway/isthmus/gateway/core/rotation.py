"""Whose turn it is: weighted round robin over the callers that wait in one task queue.

Callers take turns in the order of their names, round and round. A turn is as many tasks as the caller's
weight, and ends early when the caller has none left. So a caller waits for one turn of each of the others at
most, however many tasks they have: with F others of weight 1 its task is among the next F + 1. All that is to
be remembered between two decisions is who was served last, and how much of that turn is left.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeVar

from isthmus.gateway.core.value import Value

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Rotation(Value):
    """Who was served last, and how many more tasks belong to that turn. The default: nobody yet."""

    last: str = ""
    left: int = 0


class Line(Protocol[T_co]):
    """What waits, caller by caller."""

    def take(self, caller: str) -> T_co | None:
        """Take the caller's next task; None when it has no more."""
        ...

    def weight(self, caller: str) -> int:
        """How many tasks the turn has that begins with the one just taken, at least 1."""
        ...


def take_turns(
    rotation: Rotation, callers: Sequence[str], line: Line[T], limit: int
) -> tuple[list[T], Rotation]:
    """Take up to ``limit`` tasks in the order in which they are to go out; return what to go on from.

    Args:
        rotation: where the last decision ended.
        callers: who has tasks, each once, in the order of the rotation: names greater than ``rotation.last``
            first, then the others. Only the first ``limit`` of them can matter.
        line: their tasks.
        limit: how many tasks can go out now.
    """
    in_turn = deque(callers)
    if rotation.left:
        # A turn that the last decision could not finish goes on.
        if rotation.last in in_turn:
            in_turn.remove(rotation.last)
        in_turn.appendleft(rotation.last)
    last, left = rotation.last, rotation.left
    taken: list[T] = []
    while in_turn and len(taken) < limit:
        caller = in_turn[0]
        task = line.take(caller)
        if task is None:
            in_turn.popleft()
            left = 0
            continue
        taken.append(task)
        left = (left or line.weight(caller)) - 1
        last = caller
        if left == 0:
            in_turn.rotate(-1)
    return taken, Rotation(last=last, left=left)
