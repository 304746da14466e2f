"""How fast each running task reports, as this process sees it: workers throttle, and this makes sure.

Kept in memory, of the tasks that reported last: one that was forgotten begins with a full bucket.
"""

from collections import OrderedDict
from datetime import datetime

from isthmus.gateway.core.errors import ExhaustedError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.core.token_bucket import TokenBucket, take

REPORTS_PER_SECOND = 20
MAX_TASKS = 65_536


class ReportRates:
    """A bucket for each operation that reports. Lives on the event loop."""

    def __init__(self, *, per_second: int = REPORTS_PER_SECOND, most: int = MAX_TASKS) -> None:
        self._per_second = per_second
        self._most = most
        self._buckets: OrderedDict[OperationKey, TokenBucket] = OrderedDict()

    def take(self, key: OperationKey, now: datetime) -> None:
        """Admit a report.

        Raises:
            ExhaustedError: the task reports too fast; a later report replaces this one anyway.
        """
        bucket, wait_seconds = take(self._buckets.get(key), self._per_second, now)
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if wait_seconds:
            raise ExhaustedError(
                f"a task may report {self._per_second} times a second",
                reason="REPORTING_TOO_FAST",
                fix="report less often; only the latest report counts",
                retry_after_seconds=wait_seconds,
            )
