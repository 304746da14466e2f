"""``isthmus call --batch``: many requests, each started, awaited and answered for itself."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nexusrpc

from isthmus.cli.batch_file import BatchRequest
from isthmus.cli.ending import state_of
from isthmus.cli.exit_code import ExitCode, classify
from isthmus.cli.output import Output, printable
from isthmus.cli.silence import Silence, ask
from isthmus.cli.waiting import FIRST_LOOK_SECONDS, LOOK_SECONDS, display, look
from isthmus.client.batch import Start
from isthmus.client.errors import UnprovenOutcomeError
from isthmus.transport.errors import IsthmusError

if TYPE_CHECKING:
    from isthmus.client.client import Client
    from isthmus.client.handle import OperationHandle
    from isthmus.client.nexus_client import NexusClient
    from isthmus.client.request import StartKeywords

STARTED_TOGETHER = 256
# Of what one session of the client may have under way, half.
AWAITED_TOGETHER = 4096
MAX_SHOWN_CHARS = 100
_COLUMNS = ("line", "id", "operation_id", "state", "answer")


@dataclass(slots=True, kw_only=True)
class Entry:
    """A request and what became of it."""

    request: BatchRequest
    state: str = "unacknowledged"
    code: ExitCode = ExitCode.UNAVAILABLE
    operation_id: str | None = None
    generation: int | None = None
    attested: bool = False
    shown: str = ""
    told: bool = False


class Batch:
    """Starts requests and sees them end. Whoever repeats it attaches, because each has an id."""

    def __init__(
        self, client: "Client", requests: Sequence[BatchRequest], output: Output, *, wait: bool
    ) -> None:
        self._client = client
        self._entries = [Entry(request=request) for request in requests]
        self._output = output
        self._wait = wait
        self._handles: dict[int, OperationHandle[Any]] = {}
        self._free = asyncio.Semaphore(AWAITED_TOGETHER)

    async def run(
        self,
        service: "NexusClient[Any]",
        operation: str,
        options: "StartKeywords",
        *,
        timeout_seconds: float | None,
    ) -> ExitCode:
        """Start all, wait for them unless told otherwise, print an answer of each, and say how it went.

        Raises:
            ConfigurationError: an option makes no sense. Nothing is started.
        """
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._see_through(service, operation, options)
        except TimeoutError:
            # What is known of each is printed below.
            pass
        except asyncio.CancelledError:
            # Ctrl-C gives up the wait only.
            sys.stderr.write("\nWhat was started goes on; the same command attaches to it by its ids.\n")
            raise
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return self._conclude()

    async def _see_through(
        self, service: "NexusClient[Any]", operation: str, options: "StartKeywords"
    ) -> None:
        async with asyncio.TaskGroup() as waits:
            for first in range(0, len(self._entries), STARTED_TOGETHER):
                entries = self._entries[first : first + STARTED_TOGETHER]
                starts = [_start(operation, entry.request, options) for entry in entries]
                for entry, answer in zip(entries, await service.start_operations(starts), strict=True):
                    if isinstance(answer, Exception):
                        self._refused(entry, answer)
                        continue
                    self._started(entry, answer)
                    if self._wait:
                        waits.create_task(self._see_end(entry, answer))

    def _refused(self, entry: Entry, error: Exception) -> None:
        code = classify(error)
        if code is None:
            raise error
        entry.state, entry.code = "refused", code
        self._tell(entry, error=error)

    def _started(self, entry: Entry, handle: "OperationHandle[Any]") -> None:
        entry.operation_id, entry.generation = handle.operation_id, handle.generation
        entry.state, entry.code = "running", ExitCode.STILL_RUNNING
        if self._wait:
            self._handles[entry.request.line] = handle
        else:
            entry.code = ExitCode.OK
            self._tell(entry)

    async def _see_end(self, entry: Entry, handle: "OperationHandle[Any]") -> None:
        async with self._free:
            try:
                result = await handle.result()
            except (nexusrpc.OperationError, nexusrpc.HandlerError) as error:
                entry.state, entry.code = state_of(error), ExitCode.FAILED
                entry.attested = bool(getattr(error, "attested", False))
                self._tell(entry, error=error)
            except UnprovenOutcomeError as error:
                entry.state, entry.code = "unproven", ExitCode.UNPROVEN
                self._tell(entry, error=error)
            except IsthmusError as error:
                # It is not known how it ended, or whether it did.
                entry.code = classify(error) or ExitCode.FAILED
                self._tell(entry, error=error)
            else:
                entry.state, entry.code, entry.attested = "succeeded", ExitCode.OK, True
                self._tell(entry, result=result)
        self._handles.pop(entry.request.line, None)

    def _tell(self, entry: Entry, *, error: Exception | None = None, result: object = None) -> None:
        """Print an answer for programs at once; keep a line of it for people."""
        entry.told = True
        if not self._output.is_json:
            entry.shown = _shown(str(error) if error is not None else _as_text(result))
            return
        document: dict[str, object] = {
            "line": entry.request.line,
            "id": entry.request.id,
            "operation_id": entry.operation_id,
            "state": entry.state,
            "attested": entry.attested,
        }
        if entry.generation is not None:
            document["generation"] = entry.generation
        if error is not None:
            document["error"] = {"type": type(error).__name__, "message": str(error)}
        elif entry.state == "succeeded":
            document["result"] = result
        self._output.json_line(document)

    def _conclude(self) -> ExitCode:
        for entry in self._entries:
            if not entry.told:
                self._tell(entry)
        if not self._output.is_json:
            self._output.rows([_row(entry) for entry in self._entries], _COLUMNS)
        self._output.note(self._counts() + ".")
        return exit_code_of(entry.code for entry in self._entries)

    async def _watch(self) -> None:
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        silence = Silence()
        with display("") as update:
            while True:
                said = await silence.or_else(
                    self._first_that_runs(), meanwhile="; what waits for it goes on by itself"
                )
                update(self._counts() + (f" · {said}" if said else ""))
                await asyncio.sleep(LOOK_SECONDS)

    async def _first_that_runs(self) -> str:
        """Say what the first one waits for: never stuck in silence."""
        handle = next(iter(self._handles.values()), None)
        if handle is not None:
            return await look(handle)
        await ask(self._client)
        return ""

    def _counts(self) -> str:
        states = Counter(entry.state for entry in self._entries)
        return f"{len(self._entries)} requests: " + ", ".join(
            f"{count} {state}" for state, count in states.most_common()
        )


def exit_code_of(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code of a batch, from those that its requests would have had by themselves.

    0 when all of them worked; the one of those that did not, if they agree; else 8 if an ending is not
    proven, 7 if a repeated call may bring the rest, 1 otherwise.
    """
    others = set(codes) - {ExitCode.OK}
    if not others:
        return ExitCode.OK
    if len(others) == 1:
        return others.pop()
    if ExitCode.UNPROVEN in others:
        return ExitCode.UNPROVEN
    if others <= {ExitCode.STILL_RUNNING, ExitCode.UNAVAILABLE}:
        return ExitCode.STILL_RUNNING
    return ExitCode.FAILED


def _start(operation: str, request: BatchRequest, options: "StartKeywords") -> Start:
    keywords = options.copy()
    keywords["id"] = request.id
    return Start(operation, request.value, **keywords)


def _as_text(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _shown(text: str) -> str:
    line = printable(text).replace("\n", " ")
    return line if len(line) <= MAX_SHOWN_CHARS else line[: MAX_SHOWN_CHARS - 1] + "…"


def _row(entry: Entry) -> dict[str, object]:
    return {
        "line": entry.request.line,
        "id": entry.request.id,
        "operation_id": entry.operation_id,
        "state": entry.state,
        "answer": entry.shown,
    }
