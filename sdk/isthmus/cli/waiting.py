"""Shows on stderr what an operation is waiting for, until it ends or the time is over."""

import asyncio
import sys
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import Any

from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.output import printable
from isthmus.client.description import OperationDescription
from isthmus.client.errors import DeadlineExceededError, GatewayError
from isthmus.client.handle import OperationHandle

FIRST_LOOK_SECONDS = 0.5
LOOK_SECONDS = 2.0


async def wait_for_result(handle: OperationHandle[Any], *, timeout_: timedelta | None) -> Any:  # noqa: ANN401
    """Return the result of an operation.

    Raises:
        CliError: the time was over first; the operation goes on. Else as ``OperationHandle.result``.
    """
    watching = asyncio.create_task(_watch(handle))
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
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def sentence(found: OperationDescription) -> str:
    """Say where an operation is, in one line."""
    if not found.waiting:
        return f"{found.operation_id} {found.state}"
    reason = found.waiting_reason or found.waiting.replace("_", " ")
    return printable(f"{found.operation_id} {found.waiting.replace('_', ' ')}: {reason}")


async def _watch(handle: OperationHandle[Any]) -> None:
    # Most operations end at once: nothing flickers then.
    await asyncio.sleep(FIRST_LOOK_SECONDS)
    with _display(handle.operation_id) as display:
        last = ""
        while True:
            # The display is a courtesy: the wait itself reports what is wrong.
            with suppress(GatewayError):
                text = sentence(await handle.describe())
                if display is not None:
                    display.update(text)
                elif text != last:
                    sys.stderr.write(text + "\n")
                    sys.stderr.flush()
                last = text
            await asyncio.sleep(LOOK_SECONDS)


def _display(text: str) -> Any:  # noqa: ANN401 - rich's status, or nothing
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(text)
