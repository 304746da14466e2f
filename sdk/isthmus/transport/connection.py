"""One connection to the gateway, for asyncio and for the sync stack: channel, credential, errors."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import grpc
import grpc.aio

from isthmus.transport import fork
from isthmus.transport.backoff import Backoff
from isthmus.transport.channel import ChannelSettings, open_async_channel, open_channel
from isthmus.transport.credentials import TokenSource, call_metadata
from isthmus.transport.errors import ClientClosedError, GatewayError
from isthmus.transport.status import error_from_rpc

Metadata = tuple[tuple[str, str], ...]
RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
ResponseT_co = TypeVar("ResponseT_co", covariant=True)
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class AsyncMethod(Protocol[RequestT_contra, ResponseT_co]):
    """A unary method of an async stub."""

    def __call__(
        self, request: RequestT_contra, /, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Awaitable[ResponseT_co]:
        """Call it."""
        ...


class SyncMethod(Protocol[RequestT_contra, ResponseT_co]):
    """A unary method of a sync stub."""

    def __call__(
        self, request: RequestT_contra, /, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> ResponseT_co:
        """Call it."""
        ...


def next_delay_seconds(error: GatewayError, backoff: Backoff, attempt: int) -> float:
    """Return how long to wait after a failed attempt, with the process's own randomness."""
    randomness = random.random()  # noqa: S311 - jitter, no secret
    return backoff.delay_seconds(attempt, randomness, at_least_seconds=error.retry_after_seconds)


class Connection:
    """An asyncio connection, bound to the process and the event loop that made it."""

    def __init__(self, settings: ChannelSettings, credentials: TokenSource | None = None) -> None:
        self.settings = settings
        self._credentials = credentials
        self._mark = fork.enter_async()
        self._channel = open_async_channel(settings)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, to make stubs of. Raises ForkedError in a forked process."""
        self._mark.check()
        return self._channel

    @property
    def connected(self) -> bool:
        """Whether the transport below is up, as far as gRPC knows."""
        return self.channel.get_state() is grpc.ChannelConnectivity.READY

    def metadata(self) -> Metadata:
        """Return the metadata that the next call carries: the bearer token. Raises ConfigurationError."""
        return call_metadata(self._credentials)

    async def call(
        self, method: AsyncMethod[RequestT, ResponseT], request: RequestT, *, timeout_seconds: float
    ) -> ResponseT:
        """Make one unary call, without repeating it.

        Raises:
            GatewayError: it failed; ``retryable`` says whether the same call may succeed later.
        """
        self._mark.check()
        try:
            return await method(request, timeout=timeout_seconds, metadata=self.metadata())
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error, address=self.settings.address) from None

    async def call_retrying(
        self,
        method: AsyncMethod[RequestT, ResponseT],
        request: RequestT,
        *,
        timeout_seconds: float,
        backoff: Backoff | None = None,
    ) -> ResponseT:
        """Make one unary call, repeated while that makes sense and time is left.

        Raises:
            GatewayError: the last attempt's error.
        """
        backoff = backoff or Backoff()
        deadline = time.monotonic() + timeout_seconds
        attempt = 0
        while True:
            try:
                left_seconds = max(deadline - time.monotonic(), 0.001)
                return await self.call(method, request, timeout_seconds=left_seconds)
            except GatewayError as error:
                attempt += 1
                delay = next_delay_seconds(error, backoff, attempt)
                if not error.retryable or time.monotonic() + delay >= deadline:
                    raise
                await asyncio.sleep(delay)

    async def close(self) -> None:
        """Close the channel; does nothing in a forked process."""
        if not self._mark.forked:
            await self._channel.close()


class SyncConnection:
    """A connection of the sync stack. Thread-safe; after a fork it opens a channel of its own."""

    def __init__(self, settings: ChannelSettings, credentials: TokenSource | None = None) -> None:
        self.settings = settings
        self._credentials = credentials
        self._mark = fork.ProcessMark()
        self._channel = open_channel(settings)
        # The parent's channel is kept, unused: to close or free it here would touch the parent's threads.
        self._inherited: list[grpc.Channel] = []
        self._closed = False

    @property
    def channel(self) -> grpc.Channel:
        """The channel of this process, to make stubs of. Raises ClientClosedError."""
        if self._closed:
            raise ClientClosedError("the client is closed; connect again")
        if self._mark.forked:
            self._inherited.append(self._channel)
            self._channel, self._mark = open_channel(self.settings), fork.ProcessMark()
        return self._channel

    def call(
        self,
        method: Callable[[grpc.Channel], SyncMethod[RequestT, ResponseT]],
        request: RequestT,
        *,
        timeout_seconds: float,
    ) -> ResponseT:
        """Make one unary call, without repeating it.

        Args:
            method: picks the method from a channel, which may be a new one.
            request: the request.
            timeout_seconds: for this attempt.

        Raises:
            GatewayError: it failed; ``retryable`` says whether the same call may succeed later.
        """
        bound = method(self.channel)
        try:
            return bound(request, timeout=timeout_seconds, metadata=call_metadata(self._credentials))
        except grpc.RpcError as error:
            # Every RpcError that a call raises is a Call too.
            raise error_from_rpc(error, address=self.settings.address) from None  # type: ignore[arg-type]

    def call_retrying(
        self,
        method: Callable[[grpc.Channel], SyncMethod[RequestT, ResponseT]],
        request: RequestT,
        *,
        timeout_seconds: float,
        backoff: Backoff | None = None,
    ) -> ResponseT:
        """Make one unary call, repeated while that makes sense and time is left.

        Raises:
            GatewayError: the last attempt's error.
        """
        backoff = backoff or Backoff()
        deadline = time.monotonic() + timeout_seconds
        attempt = 0
        while True:
            try:
                left_seconds = max(deadline - time.monotonic(), 0.001)
                return self.call(method, request, timeout_seconds=left_seconds)
            except GatewayError as error:
                attempt += 1
                delay = next_delay_seconds(error, backoff, attempt)
                if not error.retryable or time.monotonic() + delay >= deadline:
                    raise
                time.sleep(delay)

    def close(self) -> None:
        """Close the channel; in a forked process, leave the parent's alone."""
        self._closed = True
        if not self._mark.forked:
            self._channel.close()
