"""Handles: operations to wait for, to cancel and to look at, from any process of the namespace."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Generic, TypeVar

from isthmus.client.description import OperationDescription
from isthmus.client.interceptor import ClientOutbound, HandleInput, ProgressInput, SignalInput
from isthmus.client.known_operation import KnownOperation
from isthmus.client.progress import WATCH_WAIT

OutputT_co = TypeVar("OutputT_co", covariant=True)


class OperationHandle(Generic[OutputT_co]):
    """An operation. Made by start_operation, or by get_operation_handle from the id alone.

    A handle that was made from the id verifies as strictly as the one that the start returned: the gateway
    must show the request with the signature of this namespace, and the outcome must answer that very request.
    """

    def __init__(self, outbound: ClientOutbound, known: KnownOperation) -> None:
        self._outbound = outbound
        self._known = known
        self._signaling = asyncio.Lock()

    @property
    def operation_id(self) -> str:
        """``op-…``: URL-safe, valid in every process of the namespace, nothing secret."""
        return self._known.shown_id

    @property
    def generation(self) -> int | None:
        """The how manieth operation under its request id; None when the handle was made of its own id."""
        return self._known.generation

    async def result(self, *, timeout: timedelta | None = None) -> OutputT_co:  # noqa: ASYNC109
        """Wait for the result and return it.

        Args:
            timeout: how long to wait; None waits as long as the operation may live.

        Raises:
            nexusrpc.OperationError: it failed or was canceled; see ``attested``.
            nexusrpc.HandlerError: the handler could not handle it.
            UnprovenOutcomeError: only the gateway says that it ended.
            UnverifiedAnswerError: what the gateway shows is not authentic.
            OperationExpiredError: it ended so long ago that its result is not kept any more.
            DeadlineExceededError: the timeout was over first; the operation goes on.
        """
        output: OutputT_co = await self._outbound.get_result(HandleInput(known=self._known, wait=timeout))
        return output

    async def cancel(self) -> None:
        """Ask to cancel. Durable once it returns, idempotent; the handler decides how a running one ends.

        Raises:
            GatewayError: the gateway could not be asked.
        """
        await self._outbound.cancel_operation(HandleInput(known=self._known))

    async def contexts(self) -> list[bytes]:
        """Return what starts of this operation gave as ``context=``, in their order.

        Only this namespace can read them, from any of its processes. The gateway may keep some back.

        Raises:
            UnverifiedAnswerError: one of them was not sealed by this namespace for this operation.
            GatewayError: the gateway could not be asked.
        """
        return await self._outbound.get_contexts(HandleInput(known=self._known))

    async def signal(self, name: str, value: object = None) -> None:
        """Send a signal to the operation, sealed for its handler. Durable once it returns.

        Signals of one handle arrive in the order in which they were sent, each at least once: the handler
        gets all of them again on its next attempt. If this raises, it may still have been recorded.

        Args:
            name: what it is, 1 to 200 characters; sealed, too.
            value: at most 56 KiB, whatever the teams agreed on.

        Raises:
            PreconditionFailedError: the operation has ended, or has as many signals as it may have.
            NotFoundError: there is no such operation.
            PayloadTooLargeError, PayloadConversionError: the value is too large, or cannot be serialized.
            GatewayError: the gateway could not be asked.
        """
        async with self._signaling:
            await self._outbound.signal_operation(SignalInput(known=self._known, name=name, value=value))

    async def progress(self, as_type: object = Any) -> AsyncIterator[Any]:
        """Watch how far the operation is: the latest progress first, then every newer one, until it ends.

        What its handler reports faster than it is read is left out: only the latest counts. Ends when the
        gateway says that the operation has ended; only ``result()`` verifies how.

        Args:
            as_type: what the handler reports; by default plain JSON values.

        Raises:
            UnverifiedAnswerError: what the gateway shows is not authentic, or older than what was seen.
            PayloadConversionError: what the handler reported is of another type.
            GatewayError: the gateway could not be asked.
        """
        after = 0
        while True:
            update = await self._outbound.get_progress(
                ProgressInput(known=self._known, as_type=as_type, after=after, wait=WATCH_WAIT)
            )
            if update.sequence:
                after = update.sequence
                yield update.value
            if update.ended:
                return

    async def progress_now(self, as_type: object = Any) -> Any:  # noqa: ANN401 - whatever was reported
        """Return the latest progress, None if the handler never reported any. Arguments as ``progress``."""
        update = await self._outbound.get_progress(ProgressInput(known=self._known, as_type=as_type))
        return update.value

    async def describe(self, *, timeout: timedelta | None = None) -> OperationDescription:  # noqa: ASYNC109
        """Ask the gateway where the operation is in its life, and what it waits for.

        Args:
            timeout: how long to try; default: a minute.

        Raises:
            DeadlineExceededError: the gateway did not answer in time.
            GatewayError: it refuses.
        """
        return await self._outbound.describe_operation(HandleInput(known=self._known, wait=timeout))

    def __repr__(self) -> str:
        """Show the id."""
        return f"OperationHandle({self.operation_id})"
