"""What stands between clients and an honest gateway: takes every RPC as bytes, and asks what becomes of it.

Whoever sits in the middle hears every message and says what is passed on: nothing, the message, another one,
several. On streams it may say something to the client at any time, and break them off.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio

V1 = "/isthmus.v1."
SESSION = V1 + "OperationService/Session"
WORK = V1 + "WorkerService/Work"
_STREAMS = frozenset({SESSION, WORK})
_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)

Metadata = tuple[tuple[str, str | bytes], ...]


class RefusalError(Exception):
    """What the one in the middle raises to answer a call with an error."""

    def __init__(self, code: grpc.StatusCode, details: str = "", trailers: Metadata = ()) -> None:
        super().__init__(details)
        self.code, self.details, self.trailers = code, details, trailers


@dataclass(slots=True, eq=False, kw_only=True)
class Line:
    """One RPC of a client, while it lasts."""

    method: str
    metadata: Metadata
    _to_client: "asyncio.Queue[bytes | Exception | None]" = field(default_factory=asyncio.Queue)

    def say(self, message: bytes) -> None:
        """Send something to the client of a stream, whatever the honest gateway says."""
        self._to_client.put_nowait(message)

    def break_off(self) -> None:
        """End it without an answer, as a proxy does that is restarted."""
        self._to_client.put_nowait(RefusalError(grpc.StatusCode.UNAVAILABLE, "the connection broke"))


class Middle(Protocol):
    """Who sits in the middle."""

    honest: grpc.aio.Channel

    def opened(self, line: Line) -> None:
        """Hear of a new RPC."""
        ...

    def closed(self, line: Line) -> None:
        """Hear that an RPC is over."""
        ...

    def hear(self, line: Line, message: bytes) -> Sequence[bytes]:
        """Return what the honest gateway gets instead of a client's message; may raise RefusalError."""
        ...

    def tell(self, line: Line, message: bytes) -> Sequence[bytes]:
        """Return what the client gets instead of an answer; may raise RefusalError."""
        ...


class _Forwarding(grpc.GenericRpcHandler):
    """Takes every RPC, as bytes."""

    def __init__(self, middle: Middle) -> None:
        self._middle = middle

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return the handler of an RPC."""
        metadata = tuple(
            item for item in handler_call_details.invocation_metadata if item[0] == "authorization"
        )
        line = Line(method=handler_call_details.method, metadata=metadata)
        make: Callable[..., grpc.RpcMethodHandler[Any, Any]]
        if line.method in _STREAMS:
            make = grpc.stream_stream_rpc_method_handler
            return make(_stream(self._middle, line))
        make = grpc.unary_unary_rpc_method_handler
        return make(_unary(self._middle, line))


def _unary(middle: Middle, line: Line) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answer(request: bytes) -> bytes | Exception | None:
        for heard in middle.hear(line, request):
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = middle.honest.unary_unary(line.method)
            honest = await call(heard, metadata=line.metadata)
            for told in middle.tell(line, honest):
                return told
        return RefusalError(grpc.StatusCode.UNAVAILABLE, "no answer")

    async def forward(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        middle.opened(line)
        jobs = [asyncio.create_task(answer(request)), asyncio.create_task(line._to_client.get())]
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            said = next(iter(done)).result()
        except (grpc.aio.AioRpcError, RefusalError) as error:
            said = error
        finally:
            for job in jobs:
                job.cancel()
            middle.closed(line)
        if isinstance(said, bytes):
            return said
        return await _abort(context, said or RefusalError(grpc.StatusCode.UNAVAILABLE, "no answer"))

    return forward


def _stream(middle: Middle, line: Line) -> Callable[..., AsyncIterator[bytes]]:
    async def forward(
        requests: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> AsyncGenerator[bytes]:
        make: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = middle.honest.stream_stream(line.method)
        call = make(metadata=line.metadata)

        async def pass_on() -> None:
            with suppress(*_ENDED):
                async for request in requests:
                    for heard in middle.hear(line, request):
                        await call.write(heard)
                await call.done_writing()

        async def pass_back() -> None:
            end: Exception | None = None
            try:
                async for answer in call:
                    for told in middle.tell(line, answer):
                        line.say(told)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client's stream ends by it
                end = error
            line._to_client.put_nowait(end)

        middle.opened(line)
        jobs = [asyncio.create_task(pass_on()), asyncio.create_task(pass_back())]
        try:
            while (said := await line._to_client.get()) is not None:
                if isinstance(said, Exception):
                    await _abort(context, said)
                else:
                    yield said
        finally:
            for job in jobs:
                job.cancel()
            call.cancel()
            middle.closed(line)

    return forward


async def _abort(context: "grpc.aio.ServicerContext[bytes, bytes]", error: Exception) -> NoReturn:
    match error:
        case grpc.aio.AioRpcError():
            await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata()))
        case RefusalError():
            await context.abort(error.code, error.details, error.trailers)
        case _:
            raise error


@asynccontextmanager
async def serving(middle: Middle) -> AsyncGenerator[str]:
    """Serve in front of the honest gateway; yields ``host:port``."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Forwarding(middle),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield address
    finally:
        await server.stop(None)
