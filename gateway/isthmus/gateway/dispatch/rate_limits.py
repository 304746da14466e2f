"""How fast each caller starts operations at each endpoint: at this gateway, and as others tell, at all.

Every gateway has a bucket of its own for each caller, full at first and filled as fast as the limit says.
What it lets through it takes out at once, and what others let through as soon as their commit tells, so that
all of them together let through what the limit says. Nobody is asked before a start: where two gateways have
tokens at the same moment, both give, and their buckets owe it until time has paid it back.

Kept in memory: a restart fills the buckets of a gateway.
"""

from collections.abc import Sequence
from datetime import datetime

from isthmus.gateway.commands.start_operation import StartOperation, StartResult
from isthmus.gateway.core.token_bucket import TokenBucket, pay, put_back, take
from isthmus.gateway.ports import Signal, StartCounted

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

    def on_other_gateways(self, signals: Sequence[Signal], now: datetime) -> None:
        """Take out what other gateways let through."""
        for signal in signals:
            if type(signal) is StartCounted:
                line = signal.endpoint, signal.caller
                self._buckets[line] = pay(self._buckets.get(line), signal.per_second, signal.count, now)


def _line(request: StartOperation) -> _Line:
    return request.endpoint.name, request.header.sender_namespace


def _is_new(result: StartResult | BaseException | None) -> bool:
    return isinstance(result, StartResult) and not result.attached
