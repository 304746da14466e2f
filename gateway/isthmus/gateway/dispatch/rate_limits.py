"""How fast each caller starts operations at each endpoint, as this process sees it.

Kept in memory: a restart fills every bucket, and several gateways would each grant the limit.
"""

from collections.abc import Sequence
from datetime import datetime

from isthmus.gateway.commands.start_operation import StartOperation, StartResult
from isthmus.gateway.core.token_bucket import TokenBucket, put_back, take

_Line = tuple[str, str]


class RateLimits:
    """A bucket for each caller at each endpoint that has a limit. Lives on the event loop."""

    def __init__(self) -> None:
        self._buckets: dict[_Line, TokenBucket] = {}

    def take(self, request: StartOperation, now: datetime) -> float:
        """Take a token for a start; return 0, or how long to wait for one, seconds."""
        per_second = request.endpoint.max_operations_per_second
        if not per_second:
            return 0.0
        line = _line(request)
        self._buckets[line], wait_seconds = take(self._buckets.get(line), per_second, now)
        return wait_seconds

    def settle(
        self,
        requests: Sequence[StartOperation],
        waits: Sequence[float],
        results: Sequence[StartResult | BaseException | None],
    ) -> None:
        """Put back the tokens of starts that began nothing: they failed, or attached to what exists."""
        for request, wait, result in zip(requests, waits, results, strict=True):
            if request.endpoint.max_operations_per_second and not wait and not _is_new(result):
                line = _line(request)
                self._buckets[line] = put_back(self._buckets[line])


def _line(request: StartOperation) -> _Line:
    return request.endpoint.name, request.header.sender_namespace


def _is_new(result: StartResult | BaseException | None) -> bool:
    return isinstance(result, StartResult) and not result.attached
