"""The contract between callers and handlers of the fault tests, and how each piece of work has to end."""

from datetime import timedelta
from enum import StrEnum

import nexusrpc
from tests.faults.kill.jobs import Job, Receipt

SCHEDULE_TO_CLOSE = timedelta(seconds=4)
START_TO_CLOSE = timedelta(seconds=3)
_ENDLESS_PER, _ENDLESS = 20, 7
_HANGING_PER, _HANGING = 50, 11
_FOLLOWING_PER, _FOLLOWING = 20, 9
SIGNALS = 3
"""How many a job that follows signals needs, numbered from 0."""
SIGNAL = "step"


class Ending(StrEnum):
    """How a piece of work has to end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class Way(StrEnum):
    """What its handler does."""

    RUN = "it answers"
    ENDLESS = "it says that it finishes later, and never does"
    HANGING = "it does not answer"
    FOLLOWING = "it answers when it has heard all signals of its caller"


@nexusrpc.service
class Work:
    """What app-team serves."""

    run: nexusrpc.Operation[Job, Receipt]
    endless: nexusrpc.Operation[Job, Receipt]
    hanging: nexusrpc.Operation[Job, Receipt]
    following: nexusrpc.Operation[Job, Receipt]


def way_of(number: int) -> Way:
    """Return what the handler of this job does."""
    if number % _ENDLESS_PER == _ENDLESS:
        return Way.ENDLESS
    if number % _HANGING_PER == _HANGING:
        return Way.HANGING
    if number % _FOLLOWING_PER == _FOLLOWING:
        return Way.FOLLOWING
    return Way.RUN


def ending_of(number: int) -> Ending:
    """Return how the job with this number has to end."""
    if way_of(number) in {Way.ENDLESS, Way.HANGING}:
        return Ending.TIMED_OUT
    return Ending(Job(number=number).ending)
