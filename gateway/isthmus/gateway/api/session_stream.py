"""One session of a caller: frames of calls in, frames of answers out.

Every call is answered on its own; answers that are ready when the writer comes around share a frame, so
frames grow with the load and nothing waits when there is none. Calls in flight are bounded, and so are
answers: a client that does not read them is not read from either.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from isthmus.gateway.api.duplex import read_and_write
from isthmus.gateway.api.operation_calls import OperationCalls
from isthmus.gateway.api.started_calls import StartedCalls
from isthmus.gateway.api.status import status_bytes
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import ExhaustedError, InvalidRequestError
from isthmus.v1 import operation_service_pb2
from isthmus.wire import limits

MAX_CALLS_IN_FLIGHT = 8192
# Every call of a frame is taken before the next one is read: millions of empty ones would stop the loop.
MAX_CALLS_PER_FRAME = 8192
MAX_UNSENT_REPLIES = 8192
MAX_UNSENT_BYTES = 64 * 1024 * 1024
# A frame may exceed this by one reply, which is at most one envelope and its proof large.
MAX_REPLY_BYTES_PER_FRAME = limits.MAX_FRAME_BYTES - 2 * limits.MAX_ENVELOPE_BYTES
RETRY_AFTER_SECONDS = 0.1

Write = Callable[[operation_service_pb2.SessionResponse], Awaitable[None]]
Reply = operation_service_pb2.SessionReply
_STARTS = frozenset({"start", "execute"})


class SessionStream:
    """One stream of one principal. Lives on the event loop."""

    def __init__(self, calls: OperationCalls, principal: Principal) -> None:
        self._handlers: Mapping[str | None, Callable[[Principal, Any], Awaitable[Any]]] = {
            "wait": calls.wait,
            "cancel": calls.cancel,
            "get": calls.get,
            "progress": calls.progress.get,
            "signal": calls.signal,
        }
        self._principal = principal
        self._open: dict[int, asyncio.Task[None]] = {}
        self._started = StartedCalls(calls, principal, self._answer)
        self._replies: deque[tuple[Reply, int]] = deque()
        self._unsent_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._drain_wanted = False
        self._drain_sent = False
        self._reading = True

    def drain(self) -> None:
        """Ask the client to go on elsewhere."""
        self._drain_wanted = True
        self._changed.set()

    async def serve(self, frames: AsyncIterator[operation_service_pb2.SessionRequest], write: Write) -> None:
        """Answer calls until the client says no more and everything is answered, or the stream breaks.

        Raises:
            InvalidRequestError: a frame has too many calls.
        """
        try:
            await read_and_write(self._read_frames(frames), self._write_frames(write))
        finally:
            self._started.close()
            for task in self._open.values():
                task.cancel()

    async def _read_frames(self, frames: AsyncIterator[operation_service_pb2.SessionRequest]) -> None:
        async for frame in frames:
            if len(frame.calls) > MAX_CALLS_PER_FRAME:
                raise InvalidRequestError(
                    f"more than {MAX_CALLS_PER_FRAME} calls in one frame", reason="FRAME_TOO_LARGE"
                )
            self._take(frame.calls)
            await self._room.wait()
        self._reading = False
        self._changed.set()

    # --- calls ---------------------------------------------------------------------------------------------

    def _take(self, calls: Iterable[operation_service_pb2.SessionCall]) -> None:
        """Begin calls: those that start something together, each of the others on its own."""
        starts: dict[int, operation_service_pb2.SessionCall] = {}
        for call in calls:
            call_id = call.call_id
            kind = call.WhichOneof("call")
            if kind == "abandon":
                self._abandon(call_id, starts)
            elif call_id in self._open or call_id in self._started or call_id in starts:
                error = InvalidRequestError("a call with this id is open", reason="CALL_ID")
                self._put(_refusal(call_id, error))
            elif len(self._open) + len(self._started) + len(starts) >= MAX_CALLS_IN_FLIGHT:
                self._put(_refusal(call_id, _too_many_calls()))
            elif kind in _STARTS:
                starts[call_id] = call
            elif kind is None or kind not in self._handlers:
                unknown = InvalidRequestError("the call is empty or unknown", reason="UNKNOWN_CALL")
                self._put(_refusal(call_id, unknown))
            else:
                task = asyncio.get_running_loop().create_task(self._run(call_id, kind, call))
                self._open[call_id] = task
        if starts:
            self._started.begin(tuple(starts.values()))

    def _abandon(self, call_id: int, starts: dict[int, operation_service_pb2.SessionCall]) -> None:
        if starts.pop(call_id, None) is not None:
            return
        self._started.abandon(call_id)
        task = self._open.pop(call_id, None)
        if task is not None:
            task.cancel()

    def _answer(self, call_id: int, answer: Reply | BaseException) -> None:
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            answer = _too_many_answers()
        self._put(answer if isinstance(answer, Reply) else _refusal(call_id, answer))

    async def _run(self, call_id: int, kind: str, call: operation_service_pb2.SessionCall) -> None:
        try:
            answer = self._handlers[kind](self._principal, getattr(call, kind))
            # A wait is long and there may be many: none of them keeps its frame in memory.
            del call
            # The field of the answer has the name of the call's.
            reply: Reply | Exception = Reply(call_id=call_id, **{kind: await answer})
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
            reply = error
        self._open.pop(call_id, None)
        self._answer(call_id, reply)

    # --- answers -------------------------------------------------------------------------------------------

    def _put(self, reply: Reply) -> None:
        size = reply.ByteSize()
        self._replies.append((reply, size))
        self._unsent_bytes += size
        if self._is_full():
            self._room.clear()
        self._changed.set()

    async def _write_frames(self, write: Write) -> None:
        while True:
            frame = self._next_frame()
            if frame is not None:
                await write(frame)
            elif not (self._reading or self._open or self._started):
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    def _next_frame(self) -> operation_service_pb2.SessionResponse | None:
        drain = self._drain_wanted and not self._drain_sent
        if not self._replies and not drain:
            return None
        self._drain_sent = self._drain_sent or drain
        frame = operation_service_pb2.SessionResponse(drain=drain)
        size = 0
        while self._replies and size <= MAX_REPLY_BYTES_PER_FRAME:
            reply, reply_bytes = self._replies.popleft()
            size += reply_bytes
            frame.replies.append(reply)
        self._unsent_bytes -= size
        if not self._is_full():
            self._room.set()
        return frame

    def _is_full(self) -> bool:
        return len(self._replies) >= MAX_UNSENT_REPLIES or self._unsent_bytes > MAX_UNSENT_BYTES


def _refusal(call_id: int, error: BaseException) -> Reply:
    return Reply(call_id=call_id, error=status_bytes(error))


def _too_many_calls() -> ExhaustedError:
    return ExhaustedError(
        "too many calls are open on this session",
        reason="TOO_MANY_CALLS",
        fix="wait for answers before making more calls",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _too_many_answers() -> ExhaustedError:
    return ExhaustedError(
        "too many answers wait for this session to read them",
        reason="UNREAD_ANSWERS",
        fix="read answers before making more calls; what was asked may be asked again",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
