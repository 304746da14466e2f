"""Claim checks in a worker: what a request stands for, and what a result becomes.

The store blocks, so its work is done in threads. Its errors become what a handler would raise: trouble that
passes is tried again, a claim check that is refused ends the operation. What concerns this team's own store
and disk is logged here, and not told to the caller's team.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import nexusrpc

from isthmus.blobs.claim_checks import ClaimChecks, Content
from isthmus.blobs.errors import BlobError, BlobUnavailableError
from isthmus.blobs.file import File
from isthmus.blobs.sealing import Binding
from isthmus.payload.payload import Payload
from isthmus.transport.errors import ConfigurationError
from isthmus.wire.header import Direction
from isthmus.worker.envelopes import Identity, RequestFacts

T = TypeVar("T")


class InThread(Protocol):
    """Runs what blocks where that disturbs nobody."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run it and return what it returns."""
        ...


logger = logging.getLogger("isthmus.worker")


class LargePayloads:
    """Exchanges claim checks for the tasks of one worker."""

    def __init__(
        self, claim_checks: ClaimChecks, identity: Identity, *, in_thread: InThread = asyncio.to_thread
    ) -> None:
        self._claim_checks = claim_checks
        self._identity = identity
        self._in_thread = in_thread

    def must_receive(self, payload: Payload, type_hint: object) -> bool:
        """Whether the payload of a request is to be received first."""
        return self._claim_checks.must_unpack(payload, type_hint)

    async def receive(self, payload: Payload, type_hint: object, *, request: RequestFacts) -> Content:
        """Return what a request stands for. Raises HandlerError."""
        binding = self._binding(request, Direction.REQUEST)
        return await self._run(
            lambda: self._claim_checks.unpack(payload, type_hint, binding=binding),
            refused=nexusrpc.HandlerErrorType.BAD_REQUEST,
        )

    async def send(self, content: Content, *, request: RequestFacts) -> Payload:
        """Return what the envelope of a result carries; a temporary file is removed.

        Raises:
            HandlerError: the object store does not take it, or there is none for a file.
            PayloadConversionError: a value has the content type of claim checks.
            OSError: the file cannot be opened.
        """
        if not self._claim_checks.must_pack(content) and not isinstance(content, File):
            return content
        binding = self._binding(request, Direction.RESULT)
        try:
            packed = await self._run(
                lambda: self._claim_checks.pack(content, binding=binding),
                refused=nexusrpc.HandlerErrorType.INTERNAL,
            )
        finally:
            if isinstance(content, File):
                content.close()
        return packed.payload

    def _binding(self, request: RequestFacts, direction: Direction) -> Binding:
        own, caller = self._identity.namespace, request.caller_namespace
        to_handler = direction is Direction.REQUEST
        return Binding(
            trust_domain=self._identity.trust_domain,
            sender_namespace=caller if to_handler else own,
            recipient_namespace=own if to_handler else caller,
            endpoint=request.endpoint,
            service=request.service,
            operation=request.operation,
            operation_id=request.operation_id,
            direction=direction,
        )

    async def _run(self, work: Callable[[], T], *, refused: nexusrpc.HandlerErrorType) -> T:
        try:
            return await self._in_thread(work)
        except BlobUnavailableError as error:
            logger.warning("%s", error)
            raise nexusrpc.HandlerError(
                "the worker cannot use its object store or disk for large payloads now; its log says why",
                type=nexusrpc.HandlerErrorType.UNAVAILABLE,
            ) from None
        except ConfigurationError as error:
            logger.error("%s", error)  # noqa: TRY400 - no traceback needed
            raise nexusrpc.HandlerError(
                "the worker is not configured for large payloads; its log says what is missing",
                type=nexusrpc.HandlerErrorType.INTERNAL,
                retryable_override=False,
            ) from None
        except BlobError as error:
            raise nexusrpc.HandlerError(str(error), type=refused, retryable_override=False) from None
