"""Handlers of RPCs whose errors leave as statuses, and handlers that refuse.

Requests are parsed inside of the guard: gRPC would answer one that is no protobuf message with the name of a
Python exception, and log a stack trace for each.

A streaming handler that is a coroutine (it uses ``context.read`` and ``context.write``) costs nothing more
for each message; one that is an asynchronous generator is wrapped in another.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from isthmus.gateway.api.status import abort
from isthmus.gateway.core.errors import InvalidRequestError

_LOG = logging.getLogger(__name__)
# Messages of every RPC pass here: there is nothing to say about their types.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]
_Coroutine = Callable[[Any, Context], Awaitable[Any]]
_Generator = Callable[[Any, Context], AsyncIterator[Any]]
_Parse = Callable[[bytes], Any]


def guarded_handler(handler: Handler) -> Handler:
    """Return the handler with its errors rendered as statuses."""
    make, behavior = _taken_apart(handler)
    guard = _guarded_generator if inspect.isasyncgenfunction(behavior) else _guarded_coroutine
    parse = _parser(handler.request_deserializer)
    if handler.request_streaming:
        # Called by the behavior itself, whenever it reads.
        guarded, deserializer = guard(behavior, None), parse
    else:
        guarded, deserializer = guard(behavior, parse), None
    return make(guarded, request_deserializer=deserializer, response_serializer=handler.response_serializer)


def refusing_handler(refuse: Callable[[Context], Awaitable[None]]) -> Handler:
    """Return a handler that ends the RPC before anything of its request is received or parsed."""

    async def behavior(_requests: object, context: Context) -> None:
        await refuse(context)

    # As a stream, whatever the client takes the RPC for: then gRPC does not wait for a request.
    return _stream_stream(behavior, request_deserializer=None, response_serializer=None)


def _taken_apart(handler: Handler) -> tuple[Callable[..., Handler], Any]:
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            return grpc.unary_unary_rpc_method_handler, handler.unary_unary
        case False, True:
            return grpc.unary_stream_rpc_method_handler, handler.unary_stream
        case True, False:
            return grpc.stream_unary_rpc_method_handler, handler.stream_unary
        case _:
            return _stream_stream, handler.stream_stream


def _parser(deserializer: Callable[[bytes], Any] | None) -> _Parse | None:
    """Return a deserializer whose error is one of ours."""
    if deserializer is None:
        return None

    def parse(request: bytes) -> Any:  # noqa: ANN401
        try:
            return deserializer(request)
        except DecodeError:
            raise InvalidRequestError(
                "the request is no protobuf message of the type that this method takes",
                reason="MALFORMED_MESSAGE",
                fix="use the stubs that are generated from the contract",
            ) from None

    return parse


def _guarded_coroutine(behavior: _Coroutine, parse: _Parse | None) -> _Coroutine:
    async def guarded(request: Any, context: Context) -> Any:  # noqa: ANN401
        try:
            return await behavior(request if parse is None else parse(request), context)
        except grpc.aio.InternalError:
            raise _client_left() from None
        except grpc.aio.BaseError:
            raise  # gRPC's own: the RPC was aborted, or misused
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
            await abort(context, error)

    return guarded


def _guarded_generator(behavior: _Generator, parse: _Parse | None) -> _Generator:
    async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401
        try:
            async for response in behavior(request if parse is None else parse(request), context):
                yield response
        except grpc.aio.InternalError:
            raise _client_left() from None
        except grpc.aio.BaseError:
            raise  # gRPC's own: the RPC was aborted, or misused
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
            await abort(context, error)

    return guarded


def _client_left() -> asyncio.CancelledError:
    """Return what ends an RPC whose messages cannot be sent: nobody is there to hear why.

    gRPC cancels the RPC as well when a client leaves, but not always before a write fails; then it would log
    a stack trace.
    """
    _LOG.debug("a client left while it was written to")
    return asyncio.CancelledError()


_stream_stream: Callable[..., Handler] = grpc.stream_stream_rpc_method_handler
