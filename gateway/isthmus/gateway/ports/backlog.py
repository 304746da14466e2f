"""Open operations in groups of equal fate, so that counting what waits for what reads no operation."""

from datetime import datetime

from isthmus.gateway.core.operation import AttemptEnd, State
from isthmus.gateway.core.value import Value


class WaitingGroup(Value):
    """Open operations of one endpoint, task queue and caller that are in the same situation.

    ``is_key_missing`` is true of those whose last attempt ended for want of a key, ``is_delayed`` of those
    that are scheduled and whose next attempt has its time later; ``since`` is when the first of them came
    into this situation.
    """

    endpoint: str
    handler: str
    task_queue: str
    caller: str
    state: State
    last_attempt_end: AttemptEnd | None
    is_key_missing: bool
    is_delayed: bool
    operations: int
    since: datetime
