"""A loop goes on whatever its step does, and stops at once."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.gateway.manual_time import ManualClock

from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.loops.repeating import MAX_TROUBLE_SECONDS, RepeatingLoop
from isthmus.gateway.loops.timeouts import Timeouts
from isthmus.gateway.store.sqlite import SqliteStore

MORE, NOTHING = True, False


class ScriptedStep:
    """Returns or raises what the test says, one after the other."""

    def __init__(self, *results: bool | Exception) -> None:
        self.results = list(results)
        self.done = asyncio.Event()

    async def __call__(self) -> bool:
        """Do the next one."""
        result = self.results.pop(0)
        if not self.results:
            self.done.set()
        if isinstance(result, Exception):
            raise result
        return result


async def test_loop_does_not_pause_when_more_waits() -> None:
    """A full batch is followed by the next one at once."""
    loop = RepeatingLoop("test", ScriptedStep(MORE, NOTHING), pause_seconds=0.5)
    assert await loop.turn() == 0
    assert await loop.turn() == 0.5


async def test_loop_pauses_a_little_when_more_waits_and_it_is_told_to() -> None:
    """Work that can wait leaves room for work that cannot."""
    step = ScriptedStep(MORE, NOTHING)
    loop = RepeatingLoop("test", step, pause_seconds=0.5, busy_pause_seconds=0.01)
    assert await loop.turn() == 0.01
    assert await loop.turn() == 0.5


@pytest.mark.parametrize("error", [UnavailableError("no disk"), RuntimeError("a bug")])
async def test_pause_grows_when_step_fails(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Trouble is logged, repeated more slowly, and forgotten with the first success."""
    step = ScriptedStep(*[error] * 6, NOTHING, NOTHING)
    loop = RepeatingLoop("test", step, pause_seconds=0.5)
    pauses = [await loop.turn() for _ in range(6)]
    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert pauses[3:] == [MAX_TROUBLE_SECONDS] * 3
    assert await loop.turn() == 0.5
    assert "test" in caplog.text


async def test_pause_stays_short_when_the_loop_must_not_be_late(caplog: pytest.LogCaptureFixture) -> None:
    """Long trouble neither makes it sleep longer nor fills the log."""
    step = ScriptedStep(*[UnavailableError("no disk")] * 20, NOTHING, UnavailableError("no disk"))
    loop = RepeatingLoop("test", step, pause_seconds=0.25, trouble_pause_seconds=0.5)
    assert {await loop.turn() for _ in range(20)} == {0.5}
    assert len(caplog.records) == 5
    assert await loop.turn() == 0.25
    assert await loop.turn() == 0.5
    assert len(caplog.records) == 6


async def test_timeouts_come_within_a_second_when_the_store_is_back(tmp_path: Path) -> None:
    """However long it was away: the loop never sleeps for longer than half a second."""
    store = SqliteStore(tmp_path / "isthmus.db")
    await store.open()
    loop = Timeouts(store, clock=ManualClock()).loop()
    await store.close()
    assert max([await loop.turn() for _ in range(10)]) <= 0.5


async def test_loop_ends_when_stopped_in_its_pause() -> None:
    """A stopping gateway does not wait for pauses."""
    step = ScriptedStep(NOTHING)
    loop = RepeatingLoop("test", step, pause_seconds=3600)
    running = asyncio.create_task(loop.run())
    await step.done.wait()
    loop.stop()
    await running
