"""Shows on stderr what an operation is waiting for, until it ends or the time is over."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.output import printable
from isthmus.cli.silence import ANSWER_SECONDS, Silence, ask, is_silence
from isthmus.client.client import Client
from isthmus.client.description import OperationDescription
from isthmus.client.errors import DeadlineExceededError, GatewayError
from isthmus.client.handle import OperationHandle
from isthmus.transport.errors import IsthmusError

FIRST_LOOK_SECONDS = 0.5
LOOK_SECONDS = 2.0
REPEAT_SECONDS = 60.0
MAX_PROGRESS_CHARS = 160

T = TypeVar("T")


class WaitingLines:
    """Writes where an operation is to what is no terminal: when it changed, and once a minute."""

    def __init__(self, write: Callable[[str], object], *, monotonic: Callable[[], float]) -> None:
        self._write = write
        self._monotonic = monotonic
        self._last: str | None = None
        self._written_at = 0.0

    def update(self, text: str) -> None:
        """Write a line, unless it stands there already."""
        now = self._monotonic()
        if text != self._last or now - self._written_at >= REPEAT_SECONDS:
            self._write(text + "\n")
            self._last, self._written_at = text, now


async def hand_over(start: Awaitable[T], *, client: Client, what: str) -> T:
    """Return what a start returns; say meanwhile that the gateway has not acknowledged it yet.

    Args:
        start: repeats itself while the gateway does not answer.
        client: of the start.
        what: what is started, for people.

    Raises: what the start raises.
    """
    watching = asyncio.create_task(_watch_start(client, what))
    try:
        return await start
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def wait_for_result(
    handle: OperationHandle[Any], *, timeout_: timedelta | None, advice: str = ""
) -> Any:  # noqa: ANN401
    """Return the result of an operation.

    Args:
        handle: of the operation.
        timeout_: how long to wait at most; None: as long as it lives.
        advice: how not to wait, for whoever reads what it waits for.

    Raises:
        CliError: the time was over first; the operation goes on. Else as ``OperationHandle.result``.
    """
    latest = LatestProgress()
    listening = asyncio.create_task(latest.follow(handle))
    watching = asyncio.create_task(_watch(handle, latest, f" ({advice})" if advice else ""))
    try:
        return await handle.result(timeout=timeout_)
    except DeadlineExceededError:
        raise CliError(
            f"{handle.operation_id} is still running; go on with: "
            f"isthmus operation wait {handle.operation_id}",
            code=ExitCode.STILL_RUNNING,
        ) from None
    except asyncio.CancelledError:
        # Ctrl-C gives up the wait only.
        sys.stderr.write(f"\n{handle.operation_id} goes on: isthmus operation wait {handle.operation_id}\n")
        raise
    finally:
        for job in (watching, listening):
            job.cancel()
        await asyncio.gather(watching, listening, return_exceptions=True)


def sentence(found: OperationDescription) -> str:
    """Say where an operation is, in one line."""
    if not found.waiting:
        return f"{found.operation_id} {found.state}"
    reason = found.waiting_reason or found.waiting.replace("_", " ")
    return printable(f"{found.operation_id} {found.waiting.replace('_', ' ')}: {reason}")


class LatestProgress:
    """The latest that the handler reported, for a line; its bytes were verified."""

    def __init__(self) -> None:
        self.text = ""

    async def follow(self, handle: OperationHandle[Any]) -> None:
        """Keep up with an operation until it ends."""
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        while True:
            try:
                async for value in handle.progress():
                    self.text = progress_text(value)
            except IsthmusError as error:
                # The display is a courtesy: the wait itself reports what is wrong.
                if not isinstance(error, GatewayError) or not is_silence(error):
                    return
            else:
                return
            await asyncio.sleep(LOOK_SECONDS)


def progress_text(value: object) -> str:
    """Return progress in one short line: another team wrote it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = printable(text).replace("\n", " ")
    return shown if len(shown) <= MAX_PROGRESS_CHARS else shown[: MAX_PROGRESS_CHARS - 1] + "…"


async def _watch(handle: OperationHandle[Any], latest: LatestProgress, advice: str) -> None:
    # Most operations end at once: nothing flickers then.
    await asyncio.sleep(FIRST_LOOK_SECONDS)
    silence = Silence()

    async def where_it_is() -> str:
        said = await look(handle)
        return f"{said} · {latest.text}" if latest.text else said

    with display(handle.operation_id) as update:
        while True:
            said = await silence.or_else(
                where_it_is(), meanwhile=f"; the wait for {handle.operation_id} goes on by itself"
            )
            if said is not None:
                update(said + advice)
            await asyncio.sleep(LOOK_SECONDS)


async def _watch_start(client: Client, what: str) -> None:
    await asyncio.sleep(FIRST_LOOK_SECONDS)
    silence, handing = Silence(), f"handing {what} to the gateway"

    async def under_way() -> str:
        await ask(client)
        return handing

    with display(handing) as update:
        update(handing)
        while True:
            said = await silence.or_else(
                under_way(), meanwhile=f"; the start of {what} is repeated by itself until it does"
            )
            update(said or handing)
            await asyncio.sleep(LOOK_SECONDS)


async def look(handle: OperationHandle[Any]) -> str:
    """Ask where an operation is, and say it. Raises GatewayError, soon when nobody answers."""
    return sentence(await handle.describe(timeout=timedelta(seconds=ANSWER_SECONDS)))


@contextmanager
def display(text: str) -> Generator[Callable[[str], object]]:
    """Show one line that changes: in its place on a terminal, else as lines of a log."""
    if not sys.stderr.isatty():
        yield WaitingLines(_write_line, monotonic=time.monotonic).update
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(text) as status:
        # Other teams' words are no markup.
        yield lambda said: status.update(escape(said))


def _write_line(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()
