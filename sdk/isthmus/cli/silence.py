"""Tells a gateway that does not answer from one that has nothing new to say, for lines about what waits."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from isthmus.cli.output import show
from isthmus.client.client import Client
from isthmus.client.errors import ConnectionLostError, DeadlineExceededError, GatewayError
from isthmus.transport.async_stubs import namespace_stub_of
from isthmus.v1 import namespace_service_pb2

ANSWER_SECONDS = 3.0
"""Who does not answer a question of the display within this time is said to be silent."""


class Silence:
    """Since when the gateway has not answered.

    Args:
        now: the time, with its zone.
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._heard_at = now()

    async def or_else(self, asked: Awaitable[str], *, meanwhile: str) -> str | None:
        """Return what the gateway answers, or that it does not and what happens ``meanwhile``.

        None when it refuses: the display is a courtesy, and who waits for the answer reports what is wrong.
        """
        try:
            answer: str | None = await asked
        except GatewayError as error:
            _end_if_canceled()
            if is_silence(error):
                return f"the gateway has not answered since {show(self._heard_at)} UTC{meanwhile}"
            answer = None
        _end_if_canceled()
        self._heard_at = self._now()
        return answer


def _end_if_canceled() -> None:
    # gRPC may answer a cancel that meets the end of a call with how the call ended: a display that went on
    # then would keep its command from ending.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def is_silence(error: GatewayError) -> bool:
    """Whether this means that nobody answered; a gateway that asks to wait does answer."""
    last = error.__cause__ if isinstance(error, DeadlineExceededError) else error
    return last is None or isinstance(last, ConnectionLostError | DeadlineExceededError)


async def ask(client: Client) -> None:
    """Return when the gateway answers. Raises GatewayError."""
    stub = namespace_stub_of(client.connection)
    await client.connection.call(
        stub.WhoAmI, namespace_service_pb2.WhoAmIRequest(), timeout_seconds=ANSWER_SECONDS
    )
