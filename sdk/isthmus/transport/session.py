"""The caller's calls, multiplexed over one stream.

Whatever the process starts and awaits at the same moment travels in one frame, and so do the answers: while
one frame is being written, the next one fills. Nothing is delayed in order to fill a frame. A call costs a
future, no task and no timer of its own.

A stream that breaks is opened again with backoff, and the open calls are repeated on it, with the same bytes,
until the deadline of each. Where streams do not work at all (a proxy that breaks them) the same calls go out
one by one, for a while, before the stream is tried again.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import grpc
import grpc.aio

from isthmus.transport.async_stubs import operation_stub_of
from isthmus.transport.backoff import Backoff
from isthmus.transport.connection import Connection
from isthmus.transport.deadlines import Deadlines
from isthmus.transport.errors import (
    ClientClosedError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineExceededError,
    GatewayError,
    IsthmusError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnsupportedError,
)
from isthmus.transport.outbox import OpenCall, Outbox
from isthmus.transport.repeating import Repeating
from isthmus.transport.status import error_from_rpc, error_from_status
from isthmus.transport.unary import call_unary
from isthmus.v1 import operation_service_pb2

_LOG: Final = logging.getLogger(__name__)
BROKEN_STREAMS_BEFORE_UNARY: Final = 3
_UNARY_SECONDS: Final = 60.0

Stream = grpc.aio.StreamStreamCall[
    operation_service_pb2.SessionRequest, operation_service_pb2.SessionResponse
]


class Session:
    """The calls of one client. Bound to one event loop; not thread-safe.

    Args:
        connection: the connection; the session does not close it.
        backoff: between attempts, of streams and of calls that the gateway asks to repeat.
        randomness: uniform in [0, 1).
    """

    def __init__(
        self,
        connection: Connection,
        *,
        backoff: Backoff | None = None,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection
        self._backoff = backoff or Backoff()
        self._randomness = randomness
        self._stub = operation_stub_of(connection)
        self._open: dict[int, OpenCall] = {}
        self._outbox = Outbox()
        self._repeating = Repeating()
        self._deadlines = Deadlines(self._expire)
        self._runner: asyncio.Task[None] | None = None
        self._last_id = 0
        self._streaming = False
        self._unary = False
        self._broken_streams = 0
        self._closed = False

    async def call(
        self, call: operation_service_pb2.SessionCall, *, timeout_seconds: float, size_bytes: int = 0
    ) -> operation_service_pb2.SessionReply:
        """Make one call; its id is set here. Cancelling the wait abandons the call, never the operation.

        Args:
            call: start, execute, wait, cancel or get. Repeated as it is when the connection breaks.
            timeout_seconds: how long to try.
            size_bytes: about how large the call is, to keep frames small.

        Raises:
            GatewayError: the gateway refused, or no answer came in time (DeadlineExceededError).
            ClientClosedError: the session was closed meanwhile.
        """
        if self._closed:
            raise ClientClosedError("the client is closed; connect again")
        _ = self._connection.channel  # refuses in a forked process
        loop = asyncio.get_running_loop()
        self._last_id += 1
        call_id = call.call_id = self._last_id
        deadline = loop.time() + timeout_seconds
        entry = OpenCall(
            call=call,
            size_bytes=size_bytes,
            answer=loop.create_future(),
            timeout_seconds=timeout_seconds,
            deadline=deadline,
        )
        self._open[call_id] = entry
        self._send(entry)
        self._deadlines.add(deadline)
        try:
            return await entry.answer
        finally:
            if self._open.pop(call_id, None) is not None:
                self._abandon(entry)
            if not self._open:
                self._deadlines.clear()

    async def close(self) -> None:
        """End the stream. Calls that still wait fail with ClientClosedError; operations go on."""
        self._closed = True
        for entry in list(self._open.values()):
            entry.fail(ClientClosedError("the client was closed; take the handle again to go on waiting"))
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner

    def _send(self, entry: OpenCall) -> None:
        if entry.answer.done() or entry.unary is not None:
            return
        entry.queued = True
        if self._unary:
            entry.unary = asyncio.get_running_loop().create_task(self._call_unary(entry))
            return
        self._outbox.add(entry)
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run(), name="isthmus-session")
            self._runner.add_done_callback(self._runner_ended)

    def _abandon(self, entry: OpenCall) -> None:
        if entry.unary is not None:
            entry.unary.cancel()
        elif self._streaming and not entry.queued:
            self._outbox.abandon(entry.call.call_id)

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        waiting = [entry for entry in self._open.values() if not entry.answer.done()]
        for entry in waiting:
            if entry.deadline <= now:
                entry.fail(self._expired(entry))
        if left := [entry.deadline for entry in waiting if entry.deadline > now]:
            self._deadlines.add(min(left))

    def _expired(self, entry: OpenCall) -> DeadlineExceededError:
        error = DeadlineExceededError(
            f"no answer from {self._connection.settings.address} within {entry.timeout_seconds:g} s"
            + (f" (last: {entry.last_error})" if entry.last_error else "")
        )
        error.__cause__ = entry.last_error
        return error

    def _runner_ended(self, runner: asyncio.Task[None]) -> None:
        """No call waits for a runner that is gone: a channel closed under it, or a bug."""
        self._runner = None
        failed = None if runner.cancelled() else runner.exception()
        if failed is not None:
            _LOG.error("the session ended unexpectedly", exc_info=failed)
        self._fail_all(
            ClientClosedError("the connection was closed; connect again and repeat with the same id")
        )

    # --------------------------------------------------------------------------------------- the stream

    async def _run(self) -> None:
        """Keep a stream open while there are calls; the only task of a session besides its writer."""
        refused = 0
        while True:
            if not self._open:
                await self._outbox.wait()
                if not self._open:  # given up before it was sent
                    self._outbox.clear()
                    continue
            error = await self._stream_once()
            if error is None:  # drained or closed in order: go on at once
                refused = 0
                continue
            for entry in self._open.values():
                entry.last_error = error
            if isinstance(error, UnauthenticatedError | PermissionDeniedError | ConfigurationError):
                refused += 1
                # A token may have expired on the way: one more attempt, with a new one.
                if refused > 1 or not isinstance(error, UnauthenticatedError):
                    self._fail_all(error)
                    refused = 0
                continue
            refused = 0
            if self._open:
                self._repeating.note(error, attempt=self._broken_streams)
            if self._streams_do_not_work(error):
                await self._without_streams(error)
                continue
            await asyncio.sleep(self._delay_seconds(self._broken_streams, error))

    async def _stream_once(self) -> IsthmusError | None:
        """Serve calls on one stream until it ends; return why, or None for an orderly end."""
        answered = False
        try:
            stream = self._stub.Session(metadata=self._connection.metadata())
        except ConfigurationError as error:  # no token
            return error
        self._outbox.restart(self._open.values())
        self._streaming = True
        writer = asyncio.get_running_loop().create_task(self._write(stream), name="isthmus-session-writer")
        failure: IsthmusError = ConnectionLostError("the stream ended before anything was answered")
        try:
            async for frame in stream:
                answered = True
                self._broken_streams = 0
                self._take(frame)
                if frame.drain:
                    break
            if answered:
                return None
        except grpc.aio.AioRpcError as error:
            failure = error_from_rpc(error, address=self._connection.settings.address)
        finally:
            self._streaming = False
            writer.cancel()
            stream.cancel()
        self._broken_streams += 1
        return failure

    async def _write(self, stream: Stream) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader sees why
            while True:
                await self._outbox.wait()
                frame = self._outbox.next_frame()
                if frame is not None:
                    await stream.write(frame)

    def _take(self, frame: operation_service_pb2.SessionResponse) -> None:
        for reply in frame.replies:
            entry = self._open.get(reply.call_id)
            if entry is None or entry.answer.done():
                continue
            if reply.WhichOneof("reply") == "error":
                self._retry_or_fail(entry, error_from_status(reply.error))
            else:
                # Out of the table first: an answered call is not abandoned.
                del self._open[reply.call_id]
                entry.resolve(reply)

    def _retry_or_fail(self, entry: OpenCall, error: IsthmusError) -> None:
        entry.last_error = error
        entry.attempts += 1
        repeat = isinstance(error, GatewayError) and (
            error.retryable or isinstance(error, DeadlineExceededError)
        )
        if repeat and not self._closed:
            self._repeating.note(error, attempt=entry.attempts)
            entry.queued = True
            asyncio.get_running_loop().call_later(
                self._delay_seconds(entry.attempts, error), self._send, entry
            )
            return
        self._open.pop(entry.call.call_id, None)
        entry.fail(error)

    def _delay_seconds(self, attempt: int, error: IsthmusError) -> float:
        asked = error.retry_after_seconds if isinstance(error, GatewayError) else None
        return self._backoff.delay_seconds(max(attempt, 1), self._randomness(), at_least_seconds=asked)

    def _fail_all(self, error: IsthmusError) -> None:
        for call_id in list(self._open):
            self._open.pop(call_id).fail(error)

    # ------------------------------------------------------------------------------------- without streams

    def _streams_do_not_work(self, error: IsthmusError) -> bool:
        """Whether it is the streams, and not the gateway, that fail: the connection below is up."""
        if isinstance(error, UnsupportedError):
            return True
        return self._broken_streams >= BROKEN_STREAMS_BEFORE_UNARY and self._connection.connected

    async def _without_streams(self, error: IsthmusError) -> None:
        _LOG.warning(
            "session streams to %s do not work (%s): using unary calls; is a proxy in the way?",
            self._connection.settings.address,
            error,
        )
        self._unary = True
        self._outbox.clear()
        for entry in list(self._open.values()):
            self._send(entry)
        await asyncio.sleep(_UNARY_SECONDS)
        self._unary = False
        self._broken_streams = 0
        # Calls under way finish as they began.

    async def _call_unary(self, entry: OpenCall) -> None:
        try:
            reply = await call_unary(self._stub, self._connection, entry.call)
        except IsthmusError as error:
            self._retry_or_fail(entry, error)
            return
        finally:
            entry.unary = None
        self._open.pop(entry.call.call_id, None)
        entry.resolve(reply)
