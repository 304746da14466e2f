"""Signals of the caller, as a handler gets them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from isthmus.envelope.open import Opened
from isthmus.payload.converter import PayloadConverter
from isthmus.payload.payload import Payload
from isthmus.wire.names import SIGNAL_NAME_HEADER

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A signal that the caller's namespace signed for this very operation."""

    name: str
    """What it is."""
    session: str
    """Which sender of the caller's namespace; each numbers its own signals."""
    sequence: int
    """The how manieth of its sender, from 1."""
    principal: str
    """Who of the caller's namespace sent it, as its signed header says."""
    _payload: Payload = field(repr=False)
    _converter: PayloadConverter = field(repr=False)

    @property
    def id(self) -> str:
        """The same whenever the signal is delivered again: a key for deduplication."""
        return f"{self.session}:{self.sequence}"

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever was sent
        """What was sent: dictionaries, lists, text and numbers."""
        return self._converter.from_payload(self._payload, Any)

    def value_as(self, as_type: type[T]) -> T:
        """Return what was sent, as a type. Raises PayloadConversionError."""
        value: T = self._converter.from_payload(self._payload, as_type)
        return value


def signal_of(opened: Opened, converter: PayloadConverter) -> Signal:
    """Return a signal that was opened."""
    header = opened.header
    return Signal(
        name=dict(opened.payload.headers).get(SIGNAL_NAME_HEADER, ""),
        session=header.sender_session.hex(),
        sequence=header.sequence,
        principal=header.principal,
        _payload=opened.payload,
        _converter=converter,
    )


class SignalInbox:
    """What a running task has received so far, in order. Filled on the worker's loop, read from anywhere."""

    def __init__(self) -> None:
        self._received: list[Signal] = []
        self._error: Exception | None = None
        self._closed = False
        self._condition = threading.Condition()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def put(self, signals: list[Signal]) -> None:
        """Add verified signals."""
        with self._condition:
            self._received += signals
            self._tell()

    def fail(self, error: Exception) -> None:
        """Nothing further comes, and that is an error."""
        with self._condition:
            self._error = self._error or error
            self._tell()

    def close(self) -> None:
        """The task is to stop: blocked threads go on."""
        with self._condition:
            self._closed = True
            self._tell()

    def _tell(self) -> None:
        self._condition.notify_all()
        waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def _at(self, position: int) -> Signal | None:
        """Return the signal at a position; None if it has not come, yet or at all. Under the lock."""
        if position < len(self._received):
            return self._received[position]
        if self._error is not None:
            raise self._error
        return None

    async def next(self, position: int) -> Signal:
        """Return the signal at a position, when it has come."""
        while True:
            with self._condition:
                found = self._at(position)
                if found is not None:
                    return found
                event = asyncio.Event()
                self._waiting.append((asyncio.get_running_loop(), event))
            await event.wait()

    def next_blocking(self, position: int) -> Signal | None:
        """Return the signal at a position when it has come, None when the task is to stop."""
        with self._condition:
            while True:
                found = self._at(position)
                if found is not None or self._closed:
                    return found
                self._condition.wait()


class Signals:
    """The signals of the running operation: ``async for`` in a coroutine, ``for`` in a thread.

    Each iteration begins with the first signal of the operation, those of earlier attempts included, and goes
    on until the handler leaves it: further signals may come as long as the operation lives. In a thread it
    ends when the task is to stop.
    """

    def __init__(self, inbox: SignalInbox, begin: Callable[[], None]) -> None:
        """Call ``begin`` when somebody wants to read."""
        self._inbox = inbox
        self._begin = begin

    async def __aiter__(self) -> AsyncIterator[Signal]:
        """Return the signals in order.

        Raises:
            SignalRefusedError: what the gateway shows is not authentic, or not complete.
        """
        self._begin()
        position = 0
        while True:
            yield await self._inbox.next(position)
            position += 1

    def __iter__(self) -> Iterator[Signal]:
        """Return the signals in order, blocking. Raises as the asynchronous iteration does."""
        self._begin()
        position = 0
        while (signal := self._inbox.next_blocking(position)) is not None:
            yield signal
            position += 1
