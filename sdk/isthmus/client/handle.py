"""Handles: operations to wait for, to cancel and to look at, from any process of the namespace."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from isthmus.client.answer import KnownRequest, Outcome
from isthmus.client.description import OperationDescription
from isthmus.client.flows import Clock, Flow, Started, find, wait_for_outcome
from isthmus.client.interceptor import HandleInput
from isthmus.client.request import Caller
from isthmus.wire.names import OperationId, format_operation_id

if TYPE_CHECKING:
    from isthmus.client.interceptor import ClientOutbound

OutputT_co = TypeVar("OutputT_co", covariant=True)
_GRACE_SECONDS: Final = 90.0


class KnownOperation:
    """What a handle knows: the id at first, then the verified request, in the end the verified outcome."""

    def __init__(
        self, operation_id: OperationId, output_type: object, started: Started | None = None
    ) -> None:
        self.operation_id = operation_id
        self.output_type = output_type
        self._request: KnownRequest | None = None if started is None else started.request
        self._outcome: Outcome | None = None if started is None else started.outcome

    def request(self, caller: Caller, clock: Clock) -> Flow[KnownRequest]:
        """Return the request of this operation, as this namespace certainly signed it."""
        if self._request is None:
            found = yield from find(caller, self.operation_id, clock)
            self._request, self._outcome = found.request, found.outcome
        return self._request

    def outcome(self, caller: Caller, clock: Clock, *, wait: timedelta | None) -> Flow[Outcome]:
        """Return how the operation ended; wait as long as it may live unless told otherwise."""
        request = yield from self.request(caller, clock)
        if self._outcome is None:
            if wait is None:
                header = request.header
                ends_ms = header.issued_at_ms + header.schedule_to_close_timeout_ms
                timeout_seconds = max(ends_ms - clock.now_ms(), 0) / 1000 + _GRACE_SECONDS
            else:
                timeout_seconds = wait.total_seconds()
            self._outcome = yield from wait_for_outcome(
                caller, request, clock, timeout_seconds=timeout_seconds
            )
        return self._outcome


class OperationHandle(Generic[OutputT_co]):
    """An operation. Made by start_operation, or by get_operation_handle from the id alone.

    A handle that was made from the id verifies as strictly as the one that the start returned: the gateway
    must show the request with the signature of this namespace, and the outcome must answer that very request.
    """

    def __init__(self, outbound: "ClientOutbound", known: KnownOperation) -> None:
        self._outbound = outbound
        self._known = known

    @property
    def operation_id(self) -> str:
        """``op-…``: URL-safe, valid in every process of the namespace, nothing secret."""
        return format_operation_id(self._known.operation_id)

    async def result(self, *, timeout: timedelta | None = None) -> OutputT_co:  # noqa: ASYNC109
        """Wait for the result and return it.

        Args:
            timeout: how long to wait; None waits as long as the operation may live.

        Raises:
            nexusrpc.OperationError: it failed or was canceled; see ``attested``.
            nexusrpc.HandlerError: the handler could not handle it.
            UnprovenOutcomeError: only the gateway says that it ended.
            UnverifiedAnswerError: what the gateway shows is not authentic.
            DeadlineExceededError: the timeout was over first; the operation goes on.
        """
        output: OutputT_co = await self._outbound.get_result(HandleInput(handle=self, wait=timeout))
        return output

    async def cancel(self) -> None:
        """Ask to cancel. Durable once it returns, idempotent; the handler decides how a running one ends.

        Raises:
            GatewayError: the gateway could not be asked.
        """
        await self._outbound.cancel_operation(HandleInput(handle=self))

    async def describe(self) -> OperationDescription:
        """Ask the gateway where the operation is in its life, and what it waits for. Raises GatewayError."""
        return await self._outbound.describe_operation(HandleInput(handle=self))

    def __repr__(self) -> str:
        """Show the id."""
        return f"OperationHandle({self.operation_id})"


def known_of(handle: Any) -> KnownOperation:  # noqa: ANN401 - async and sync handles alike
    """Return what a handle knows."""
    known: KnownOperation = handle._known  # noqa: SLF001 - the client's own modules
    return known
