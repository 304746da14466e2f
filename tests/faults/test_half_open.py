"""A connection whose other end is gone without a word is given up, and soon."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from tests.faults.tcp_proxy import FaultProxy

from isthmus.gateway.config.settings import LimitSettings
from isthmus.gateway.server_options import server_options
from isthmus.transport.channel import ChannelSettings, open_async_channel

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[bytes, bytes]
SECONDS = 1.0
# What gRPC takes by itself, without our option for it, is a minute.
PATIENCE_SECONDS = 40.0


class Echo(grpc.GenericRpcHandler):
    """Sends back what it gets."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401 - gRPC's own type is generic only in its stubs
        """Take any RPC."""

        async def echo(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
            async for request in requests:
                yield request

        return grpc.stream_stream_rpc_method_handler(echo)


@pytest.mark.timeout(PATIENCE_SECONDS + 20)
async def test_client_gives_a_connection_up_when_it_is_half_open() -> None:
    """After the keepalive interval and its timeout, not after the minute that gRPC takes by itself."""
    server = grpc.aio.server(options=server_options(LimitSettings()))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with FaultProxy(f"127.0.0.1:{port}") as proxy:
        settings = ChannelSettings(
            address=proxy.address, keepalive_seconds=SECONDS, keepalive_timeout_seconds=SECONDS
        )
        async with open_async_channel(settings) as channel:
            call: Call = channel.stream_stream("/echo/Echo")(timeout=PATIENCE_SECONDS)
            await call.write(b"hello")
            assert await call.read() == b"hello"
            proxy.silence()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await echoed(channel)
    await server.stop(None)


async def echoed(channel: grpc.aio.Channel) -> None:
    """Return when a call gets through: one at once may still meet the closing one."""
    while True:
        call: Call = channel.stream_stream("/echo/Echo")(timeout=PATIENCE_SECONDS)
        try:
            await call.write(b"again")
            assert await call.read() == b"again"
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - any other is an answer
            continue
        return
