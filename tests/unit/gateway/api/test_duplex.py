"""A stream ends as a whole: neither side hangs when the other one fails."""

import asyncio

import pytest

from isthmus.gateway.api.duplex import read_and_write


class Side:
    """One side of a stream: waits to be told how it ends."""

    def __init__(self) -> None:
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun = asyncio.Event()
        self.was_canceled = False

    async def run(self) -> None:
        """Wait for the end."""
        self.begun.set()
        try:
            await asyncio.shield(self.ending)
        except asyncio.CancelledError:
            self.was_canceled = True
            raise


async def test_stream_goes_on_when_one_side_ends_well() -> None:
    """A client that says no more still gets its answers."""
    reader, writer = Side(), Side()
    stream = asyncio.create_task(read_and_write(reader.run(), writer.run()))
    reader.ending.set_result(None)
    await asyncio.wait({stream}, timeout=0)
    assert not stream.done()
    writer.ending.set_result(None)
    await stream


@pytest.mark.parametrize("failing", [0, 1], ids=["reader", "writer"])
async def test_other_side_is_canceled_when_one_fails(failing: int) -> None:
    """The failure is what the stream ends with."""
    sides = Side(), Side()
    stream = asyncio.create_task(read_and_write(sides[0].run(), sides[1].run()))
    sides[failing].ending.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await stream
    assert sides[1 - failing].was_canceled


async def test_both_sides_are_canceled_when_stream_is() -> None:
    """Nothing is left running when the RPC is gone."""
    sides = Side(), Side()
    stream = asyncio.create_task(read_and_write(sides[0].run(), sides[1].run()))
    for side in sides:
        await side.begun.wait()
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    assert all(side.was_canceled for side in sides)
