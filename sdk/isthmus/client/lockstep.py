"""Flows of a sync client side by side: starts that wait at the same time go out in one call."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar, cast

from isthmus.client.flows import Effect, Flow, Send
from isthmus.transport.errors import GatewayError
from isthmus.v1 import operation_service_pb2

T = TypeVar("T")
Start = operation_service_pb2.StartOperationRequest
Response = operation_service_pb2.StartOperationResponse
Perform = Callable[[Effect], object]
StartAll = Callable[[Sequence[Start], float], Sequence[Response | GatewayError]]
"""Sends starts together, within so many seconds; each has its own answer."""

MOST_STARTS: Final = 128
"""Of one call. So many flows run at a time: no more requests than that are sealed and in memory."""
MOST_BYTES: Final = 4 * 1024 * 1024
"""Of the starts of one call, unless one alone is larger: the smallest frames of gateways have room for it."""


def run_together(flows: Sequence[Flow[T]], *, perform: Perform, start_all: StartAll) -> list[T | Exception]:
    """Run flows to their end; return in their order what each returns, or what it raises.

    Args:
        flows: what to run, none of it begun.
        perform: does anything but a start, at once.
        start_all: sends starts.
    """
    ends: list[T | Exception] = []
    for first in range(0, len(flows), MOST_STARTS):
        ends += _run_side_by_side(flows[first : first + MOST_STARTS], perform, start_all)
    return ends


def _run_side_by_side(flows: Sequence[Flow[T]], perform: Perform, start_all: StartAll) -> list[T | Exception]:
    ends: dict[int, T | Exception] = {}
    begun = [_Running(number, flow) for number, flow in enumerate(flows)]
    waiting = [running for running in begun if running.go_on(perform, ends)]
    while waiting:
        together, waiting = _one_call(waiting)
        requests = [running.start.call.start for running in together]
        seconds = min(running.start.timeout_seconds for running in together)
        for running, answer in zip(together, start_all(requests, seconds), strict=True):
            if running.go_on(perform, ends, answer):
                waiting.append(running)
    return [ends[number] for number in range(len(flows))]


class _Running:
    """A flow that waits for the answer to a start."""

    __slots__ = ("_flow", "_start", "number")

    def __init__(self, number: int, flow: Flow[object]) -> None:
        self.number = number
        self._flow = flow
        self._start: Send | None = None

    @property
    def start(self) -> Send:
        """What it waits for."""
        if self._start is None:
            raise AssertionError
        return self._start

    def go_on(
        self, perform: Perform, ends: dict[int, T | Exception], answer: Response | GatewayError | None = None
    ) -> bool:
        """Run up to the next start, and tell whether there is one; note how the flow ends."""
        result: object = None
        error: Exception | None = None
        if isinstance(answer, Response):
            reply = operation_service_pb2.SessionReply()
            reply.start.CopyFrom(answer)
            result = reply
        else:
            error = answer
        while True:
            try:
                effect = self._flow.send(result) if error is None else self._flow.throw(error)
            except StopIteration as stop:
                ends[self.number] = cast("T", stop.value)
                return False
            except Exception as failed:  # noqa: BLE001 - whatever it is becomes the answer to this start
                ends[self.number] = failed
                return False
            if isinstance(effect, Send) and effect.call.WhichOneof("call") == "start":
                self._start = effect
                return True
            result, error = None, None
            try:
                result = perform(effect)
            except Exception as failed:  # noqa: BLE001 - the flow knows what it expects
                error = failed


def _one_call(waiting: Sequence[_Running]) -> tuple[list[_Running], list[_Running]]:
    """Return what goes into one call, one start at least, and what is left."""
    size_bytes = 0
    for count, running in enumerate(waiting):
        size_bytes += running.start.size_bytes
        if count and size_bytes > MOST_BYTES:
            return list(waiting[:count]), list(waiting[count:])
    return list(waiting), []
