"""What is known here about an operation: the id at first, in the end its verified outcome."""

from datetime import timedelta
from typing import Final

from isthmus.client.answer import KnownRequest, Outcome
from isthmus.client.flows import Clock, Flow, Started, find_flow, outcome_flow
from isthmus.client.progress import Progress, ProgressSeen, progress_flow
from isthmus.client.request import Caller, check_duration, milliseconds
from isthmus.client.signals import SignalLine, signal_flow
from isthmus.payload.payload import Payload
from isthmus.wire.names import OperationId, format_operation_id

_GRACE_SECONDS: Final = 90.0


class KnownOperation:
    """An operation with what was verified about it: its request, then its outcome."""

    def __init__(
        self,
        operation_id: OperationId,
        output_type: object,
        started: Started | None = None,
        *,
        generation: int | None = None,
    ) -> None:
        self.operation_id = operation_id
        self.output_type = output_type
        self.generation = generation if started is None else started.generation
        self._request: KnownRequest | None = None if started is None else started.request
        self._outcome: Outcome | None = None if started is None else started.outcome
        self._progress_seen = ProgressSeen()
        self._signals = SignalLine()

    @property
    def shown_id(self) -> str:
        """``op-…``."""
        return format_operation_id(self.operation_id)

    def request(self, caller: Caller, clock: Clock) -> Flow[KnownRequest]:
        """Return the request of this operation, as this namespace certainly signed it."""
        if self._request is None:
            found = yield from find_flow(caller, self.operation_id, clock)
            self._request, self._outcome = found.request, found.outcome
        return self._request

    def progress(self, caller: Caller, clock: Clock, *, after: int, wait: timedelta) -> Flow[Progress]:
        """Return progress above a sequence; wait so long for it."""
        request = yield from self.request(caller, clock)
        return (
            yield from progress_flow(
                caller, request, self._progress_seen, clock, after=after, wait_ms=milliseconds(wait)
            )
        )

    def signal(self, caller: Caller, clock: Clock, payload: Payload) -> Flow[None]:
        """Send a signal. One at a time: the next one may only be sent when this one has returned."""
        request = yield from self.request(caller, clock)
        try:
            yield from signal_flow(caller, request, self._signals, payload, clock)
        except BaseException:
            # Whether it was recorded nobody knows: what follows is numbered afresh.
            self._signals = SignalLine()
            raise

    def outcome(self, caller: Caller, clock: Clock, *, wait: timedelta | None) -> Flow[Outcome]:
        """Return how the operation ended; wait as long as it may live unless told otherwise."""
        check_duration("timeout", wait)
        request = yield from self.request(caller, clock)
        if self._outcome is None:
            if wait is None:
                header = request.header
                ends_ms = header.issued_at_ms + header.schedule_to_close_timeout_ms
                timeout_seconds = max(ends_ms - clock.now_ms(), 0) / 1000 + _GRACE_SECONDS
            else:
                timeout_seconds = wait.total_seconds()
            self._outcome = yield from outcome_flow(caller, request, clock, timeout_seconds=timeout_seconds)
        return self._outcome
