"""A gateway that does not answer, and one that refuses."""

import asyncio

import pytest

from isthmus.cli.silence import Silence
from isthmus.client.errors import GatewayError, GatewayInternalError, PermissionDeniedError


async def refused(error: GatewayError) -> str:
    """Be refused."""
    raise error


async def test_nothing_is_said_when_the_gateway_refuses() -> None:
    """It does answer; who waits for it says what is wrong."""
    assert await Silence().or_else(refused(PermissionDeniedError("no")), meanwhile="") is None


@pytest.mark.parametrize("fails", [True, False])
async def test_display_ends_when_its_cancel_is_lost_in_a_call(fails: bool) -> None:  # noqa: FBT001
    """The cancel came when the call had just ended: what it ended with comes out instead."""
    asking = asyncio.Event()

    async def ask() -> str:
        asking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if fails:
                raise GatewayInternalError("canceled") from None
        return "an answer"

    async def show() -> None:
        silence = Silence()
        while True:
            await silence.or_else(ask(), meanwhile="")

    showing = asyncio.create_task(show())
    await asking.wait()
    showing.cancel()
    await asyncio.wait([showing], timeout=10)
    assert showing.cancelled()
