"""Errors of handlers leave as statuses, whatever the shape of the RPC."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.integration.registry_gateway import reason_of

from isthmus.gateway.api.guarded_handler import Context, Handler, guarded_handler
from isthmus.gateway.core.errors import ConflictError

ERRORS = {b"known": ConflictError("it changed", reason="CHANGED"), b"unknown": KeyError("secret")}


def fail_for(request: bytes) -> None:
    """Raise the error that the request names."""
    if request in ERRORS:
        raise ERRORS[request]


async def unary_unary(request: bytes, _context: Context) -> bytes:
    """Echo."""
    fail_for(request)
    return request


async def unary_stream(request: bytes, _context: Context) -> AsyncIterator[bytes]:
    """Echo, then fail."""
    yield request
    fail_for(request)


async def stream_unary(requests: AsyncIterator[bytes], _context: Context) -> bytes:
    """Echo the last."""
    last = b""
    async for last in requests:
        fail_for(last)
    return last


async def stream_stream(requests: AsyncIterator[bytes], context: Context) -> None:
    """Echo each, as a coroutine that writes."""
    async for request in requests:
        fail_for(request)
        await context.write(request)


Call = Callable[[grpc.aio.Channel, bytes], Any]
SHAPES: dict[str, tuple[Callable[..., Handler], Any]] = {
    "unary_unary": (grpc.unary_unary_rpc_method_handler, unary_unary),
    "unary_stream": (grpc.unary_stream_rpc_method_handler, unary_stream),
    "stream_unary": (grpc.stream_unary_rpc_method_handler, stream_unary),
    "stream_stream": (grpc.stream_stream_rpc_method_handler, stream_stream),
}


async def echo(channel: grpc.aio.Channel, shape: str, request: bytes) -> bytes:
    """Call the RPC of a shape, and return what it answers."""
    call = getattr(channel, shape)(f"/test.Echo/{shape}")
    sent: Any = request if shape.startswith("unary") else iter([request])
    if shape.endswith("unary"):
        answer: bytes = await call(sent)
        return answer
    return b"".join([answer async for answer in call(sent)])


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of guarded handlers."""
    server = grpc.aio.server()
    handlers = {name: guarded_handler(make(behavior)) for name, (make, behavior) in SHAPES.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)


@pytest.mark.parametrize("shape", SHAPES)
async def test_answer_is_untouched_when_nothing_fails(channel: grpc.aio.Channel, shape: str) -> None:
    """A guard costs nothing but errors."""
    assert await echo(channel, shape, b"hello") == b"hello"


@pytest.mark.parametrize("shape", SHAPES)
async def test_error_is_a_status_when_known(channel: grpc.aio.Channel, shape: str) -> None:
    """Its code and its reason arrive."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await echo(channel, shape, b"known")
    assert (refused.value.code().name, reason_of(refused.value)) == ("ABORTED", "CHANGED")


@pytest.mark.parametrize("shape", SHAPES)
async def test_error_is_hidden_when_unknown(channel: grpc.aio.Channel, shape: str) -> None:
    """Nothing of what went wrong leaves the gateway."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await echo(channel, shape, b"unknown")
    assert (refused.value.code().name, reason_of(refused.value)) == ("INTERNAL", "INTERNAL")
    assert "secret" not in str(refused.value)
