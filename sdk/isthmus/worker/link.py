"""Keeps a session connected: reconnects with backoff, and falls back to unary calls where streams break."""

import asyncio
import logging
import random
from collections.abc import Callable
from enum import Enum, unique
from typing import Literal, Protocol

from isthmus.transport.backoff import Backoff
from isthmus.transport.errors import (
    ConfigurationError,
    ConnectionLostError,
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    UnauthenticatedError,
    UnsupportedError,
)
from isthmus.worker.errors import WorkerRefusedError
from isthmus.worker.session import Session
from isthmus.worker.stream import BrokenStreamError

logger = logging.getLogger("isthmus.worker")

TransportChoice = Literal["auto", "stream", "unary"]

BROKEN_STREAMS_BEFORE_UNARY = 3
# A connection that ends sooner counts as a failure, however politely it ended.
SHORTEST_LIFE_SECONDS = 1.0

RECONNECT = Backoff(initial_seconds=0.2, maximum_seconds=10.0)

_REFUSALS = (
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    UnauthenticatedError,
)


class Transport(Protocol):
    """One connection of a session."""

    @property
    def established(self) -> bool:
        """Whether the gateway has answered on it."""
        ...

    async def serve(self) -> None:
        """Carry frames until the connection ends."""
        ...


@unique
class _Way(Enum):
    STREAM = "stream"
    UNARY = "unary"


class Link:
    """Connects a session again and again, until it is closed."""

    def __init__(
        self,
        *,
        session: Session,
        choice: TransportChoice,
        stream: Callable[[], Transport],
        unary: Callable[[], Transport],
        is_connected: Callable[[], bool],
    ) -> None:
        """Ask ``is_connected`` whether the gateway can be reached at all, streams or not."""
        self._session = session
        self._choice = choice
        self._is_connected = is_connected
        self._make = {_Way.STREAM: stream, _Way.UNARY: unary}
        self._way = _Way.UNARY if choice == "unary" else _Way.STREAM
        self._failures = 0
        self._broken_streams = 0
        self._failure_was_said = False
        session.on_heard(self._note_heard)

    async def run(self) -> None:
        """Return when the session is closed.

        Raises:
            WorkerRefusedError: the gateway refused the very first contact.
        """
        clock = asyncio.get_running_loop().time
        while not self._session.closed:
            transport = self._make[self._way]()
            since = clock()
            try:
                await transport.serve()
            except (GatewayError, ConfigurationError, BrokenStreamError) as error:
                self._note_end(established=transport.established)
                self._note_failure(error, established=transport.established)
            else:
                self._note_end(established=transport.established)
                if clock() - since >= SHORTEST_LIFE_SECONDS:
                    continue
            self._failures += 1
            await self._wait(RECONNECT.delay_seconds(self._failures, random.random()))  # noqa: S311

    def _note_end(self, *, established: bool) -> None:
        if established:
            self._failures = self._broken_streams = 0

    def _note_failure(self, error: Exception, *, established: bool) -> None:
        if isinstance(error, _REFUSALS) and not self._session.established:
            queue = self._session.hello.task_queue
            raise WorkerRefusedError(f"a worker of task queue {queue!r} is not accepted: {error}") from error
        if not established:
            self._consider_other_way(error)
        # The first failure at once, then ever more rarely: 1, 2, 4, 8 …
        if self._failures & (self._failures + 1) == 0:
            self._failure_was_said = True
            logger.warning("the connection to the gateway failed (%d): %s", self._failures + 1, _said(error))

    def _note_heard(self) -> None:
        if self._failure_was_said:
            self._failure_was_said = False
            logger.info("connected to the gateway again")

    def _consider_other_way(self, error: Exception) -> None:
        if self._choice != "auto":
            return
        if self._way is _Way.UNARY:
            # It was worth a try; streams are the better way.
            self._way, self._broken_streams = _Way.STREAM, 0
            return
        if not self._is_connected():
            return  # the gateway is away: that says nothing about streams
        self._broken_streams += 1
        if isinstance(error, UnsupportedError) or self._broken_streams >= BROKEN_STREAMS_BEFORE_UNARY:
            self._way = _Way.UNARY
            logger.warning("streams to the gateway do not work here; trying unary calls")

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._session.wait_closed()
        except TimeoutError:
            return


def _said(error: Exception) -> str:
    """Return what is to be said of a failed connection: what callers should do is no advice to a worker."""
    if not isinstance(error, ConnectionLostError):
        return str(error)
    return (
        f"{error.message}; check the address and that the gateway runs. "
        "Handlers run on; outcomes are kept and sent again"
    )
