"""The starts and executes of one session: admitted frame by frame, committed together, answered each alone.

What a frame starts needs neither a task nor a future of its own: one submission carries all of it to the
store, and who waits for an outcome is a small object that is woken after the commit of that outcome.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from isthmus.gateway.api.eager import run_now
from isthmus.gateway.api.operation_calls import OperationCalls
from isthmus.gateway.api.operation_status import Snapshot
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.start_operation import StartOperation, StartResult
from isthmus.gateway.core.errors import GatewayError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.dispatch.waiters import Waiter
from isthmus.gateway.ports import OperationClosed
from isthmus.v1 import operation_service_pb2

# One commit after the other: nobody else waits for all of a large frame.
MAX_STARTS_PER_COMMIT = 128

Call = operation_service_pb2.SessionCall
Reply = operation_service_pb2.SessionReply
Answer = Callable[[int, Reply | BaseException], None]
"""Takes the answer to the call with this id, or why there is none."""


class Deadline:
    """When calls that were committed together have waited long enough."""

    __slots__ = ("calls", "timer")

    def __init__(self, seconds: float, elapsed: "Callable[[Deadline], None]") -> None:
        self.calls: set[StartedCall] = set()
        self.timer = asyncio.get_running_loop().call_later(seconds, elapsed, self)


class StartedCall(Waiter):
    """An admitted start, or an execute that waits for the outcome so many seconds."""

    __slots__ = ("_woken", "attached", "call_id", "closed", "deadline", "is_execute", "job", "seconds")

    def __init__(
        self, call: Call, key: OperationKey, principal: str, *, woken: "Callable[[StartedCall], None]"
    ) -> None:
        super().__init__(key, principal)
        self.call_id = call.call_id
        self.is_execute = call.WhichOneof("call") == "execute"
        self.seconds = call.execute.wait_ms / 1000 if self.is_execute else 0.0
        self.attached = False
        self.closed: OperationClosed | None = None
        self.deadline: Deadline | None = None
        self.job: asyncio.Task[Snapshot] | None = None
        self._woken = woken

    def wake(self, closed: OperationClosed) -> None:
        """Note how the operation ended."""
        self.closed = closed
        self._woken(self)


class StartedCalls:
    """The starts and executes of one session. Lives on the event loop."""

    def __init__(self, calls: OperationCalls, principal: Principal, answer: Answer) -> None:
        self._calls = calls
        self._principal = principal
        self._answer = answer
        self._admitting: dict[int, asyncio.Task[StartOperation]] = {}
        self._open: dict[int, StartedCall] = {}

    def __len__(self) -> int:
        """How many are not answered."""
        return len(self._admitting) + len(self._open)

    def __contains__(self, call_id: int) -> bool:
        """Whether the call with this id is not answered."""
        return call_id in self._open or call_id in self._admitting

    def begin(self, calls: Sequence[Call]) -> None:
        """Start operations: each call is a start or an execute, with an id that is not open."""
        admitted: list[tuple[Call, StartOperation]] = []
        for call in calls:
            request = call.execute.start if call.WhichOneof("call") == "execute" else call.start
            try:
                start = run_now(self._calls.admit(self._principal, request))
            except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
                self._answer(call.call_id, error)
                continue
            if isinstance(start, asyncio.Task):
                self._admitting[call.call_id] = start
                start.add_done_callback(partial(self._admitted, call))
            else:
                admitted.append((call, start))
        for first in range(0, len(admitted), MAX_STARTS_PER_COMMIT):
            self._start(admitted[first : first + MAX_STARTS_PER_COMMIT])

    def abandon(self, call_id: int) -> None:
        """Forget a call, if it is open. What it started goes on."""
        job = self._admitting.pop(call_id, None)
        if job is not None:
            job.cancel()
        started = self._open.get(call_id)
        if started is not None:
            self._forget(started)

    def close(self) -> None:
        """Forget all calls."""
        for call_id in (*self._admitting, *self._open):
            self.abandon(call_id)

    # --- start ---------------------------------------------------------------------------------------------

    def _admitted(self, call: Call, job: "asyncio.Task[StartOperation]") -> None:
        error = None if job.cancelled() else job.exception()
        if self._admitting.pop(call.call_id, None) is None or job.cancelled():
            return
        if error is None:
            self._start([(call, job.result())])
        else:
            self._answer(call.call_id, error)

    def _start(self, admitted: Sequence[tuple[Call, StartOperation]]) -> None:
        calls: list[StartedCall] = []
        starts: list[StartOperation] = []
        for call, start in admitted:
            header = start.header
            key = OperationKey(caller=header.sender_namespace, operation_id=header.operation_id)
            started = StartedCall(call, key, self._principal.name, woken=self._woken)
            try:
                if started.seconds > 0:
                    # Before the start: no ending can fall between the two.
                    self._calls.waiters.add(started)
            except GatewayError as error:
                self._answer(call.call_id, error)
                continue
            self._open[call.call_id] = started
            calls.append(started)
            starts.append(start)
        try:
            job = self._calls.start_all(starts)
        except GatewayError as error:
            for started in calls:
                self._refuse(started, error)
            return
        job.add_done_callback(partial(self._started, calls))

    def _started(
        self, calls: Sequence[StartedCall], job: "asyncio.Future[list[StartResult | BaseException]]"
    ) -> None:
        waiting: dict[float, list[StartedCall]] = {}
        for started, result in zip(calls, job.result(), strict=True):
            if self._open.get(started.call_id) is not started:
                continue
            if not isinstance(result, StartResult):
                self._refuse(started, result)
            elif result.attached:
                started.attached = True
                self._look_up(started)
            elif started.seconds > 0 and started.closed is None:
                waiting.setdefault(started.seconds, []).append(started)
            elif started.closed is not None:
                self._answer_closed(started, started.closed)
            else:
                self._finish(started, Snapshot(operation=result.operation))
        for seconds, together in waiting.items():
            self._wait(together, seconds)

    # --- wait ----------------------------------------------------------------------------------------------

    def _wait(self, calls: Sequence[StartedCall], seconds: float) -> None:
        deadline = Deadline(self._calls.wait_seconds(seconds), self._elapsed)
        deadline.calls.update(calls)
        for started in calls:
            started.deadline = deadline

    def _woken(self, started: StartedCall) -> None:
        # Before its start is answered, or while it is looked up, the ending is only noted.
        if started.deadline is not None and started.closed is not None:
            self._answer_closed(started, started.closed)

    def _elapsed(self, deadline: Deadline) -> None:
        for started in tuple(deadline.calls):
            self._look_up(started)

    def _answer_closed(self, started: StartedCall, closed: OperationClosed) -> None:
        self._settle(started, self._calls.statuses.of_closed(closed, with_request=started.attached))

    # --- answer --------------------------------------------------------------------------------------------

    def _look_up(self, started: StartedCall) -> None:
        snapshot = self._calls.statuses.snapshot(started.key, with_request=started.attached)
        self._settle(started, snapshot)

    def _settle(self, started: StartedCall, snapshot: Coroutine[Any, Any, Snapshot]) -> None:
        """Answer with a snapshot, when it has been read."""
        self._leave_deadline(started)
        try:
            read = run_now(snapshot)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
            self._refuse(started, error)
            return
        if isinstance(read, asyncio.Task):
            started.job = read
            read.add_done_callback(partial(self._read, started))
        else:
            self._finish(started, read)

    def _read(self, started: StartedCall, job: "asyncio.Task[Snapshot]") -> None:
        if job.cancelled() or self._open.get(started.call_id) is not started:
            return
        started.job = None
        error = job.exception()
        if error is not None:
            self._refuse(started, error)
            return
        snapshot = job.result()
        is_waiting = started.attached and started.seconds > 0 and not snapshot.operation.state.is_terminal
        if not is_waiting:
            self._finish(started, snapshot)
        elif started.closed is not None:
            self._answer_closed(started, started.closed)
        else:
            # It waits once; what is read when that time is over is the answer.
            seconds, started.seconds = started.seconds, 0.0
            self._wait([started], seconds)

    def _finish(self, started: StartedCall, snapshot: Snapshot) -> None:
        reply = Reply()
        reply.call_id = started.call_id
        response = reply.execute if started.is_execute else reply.start
        try:
            self._calls.statuses.fill(response.status, snapshot, attached=started.attached)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
            self._refuse(started, error)
            return
        self._forget(started)
        self._answer(started.call_id, reply)

    def _refuse(self, started: StartedCall, error: BaseException) -> None:
        self._forget(started)
        self._answer(started.call_id, error)

    def _forget(self, started: StartedCall) -> None:
        if self._open.get(started.call_id) is started:
            del self._open[started.call_id]
        self._calls.waiters.remove(started)
        self._leave_deadline(started)
        if started.job is not None:
            started.job.cancel()

    def _leave_deadline(self, started: StartedCall) -> None:
        deadline, started.deadline = started.deadline, None
        if deadline is not None:
            deadline.calls.discard(started)
            if not deadline.calls:
                deadline.timer.cancel()
