"""A process of a team that serves one endpoint and calls another one, on a machine of its own.

It does what lines of JSON on its input say, and writes down what comes of it. It ends with its input.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from tests.faults.kill.connecting import connect
from tests.faults.kill.durable_lines import Journal

from isthmus.client import Client
from isthmus.envelope import checks
from isthmus.envelope.errors import EnvelopeError, EnvelopeRejectedError
from isthmus.keys.errors import KeysError
from isthmus.worker import Worker

MOST_IN_FLIGHT = 500
TOLD_EVERY = 50
PROBE_SECONDS = 0.02


@nexusrpc.service
class Echo:
    """Says things back."""

    say: nexusrpc.Operation[str, str]


@service_handler(service=Echo)
class EchoHandler:
    """Says things back."""

    @sync_operation
    async def say(self, _ctx: StartOperationContext, text: str) -> str:
        """Say it."""
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a member has to do."""

    name: str
    journal: str
    results: str
    queue: str
    endpoint: str
    per_second: float


class Calls:
    """Calls at a constant rate, whether or not the ones before have been answered."""

    def __init__(self, client: Client, part: Part, journal: Journal) -> None:
        self._echo = client.create_nexus_client(part.endpoint, Echo)
        self._part = part
        self._journal = journal
        self._room = asyncio.Semaphore(MOST_IN_FLIGHT)
        self._stopping = asyncio.Event()
        self._job: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._results: list[tuple[str, float, float, str]] = []

    def begin(self) -> None:
        """Begin to call."""
        self._job = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Wait for the answers to all calls, and write down what came of them."""
        self._stopping.set()
        if self._job is not None:
            await self._job
        await asyncio.gather(*self._calls)
        await asyncio.to_thread(Path(self._part.results).write_text, json.dumps(self._results))
        self._journal.write(stopped=len(self._results))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        begun, number = loop.time(), 0
        while not self._stopping.is_set():
            await asyncio.sleep(max(0.0, begun + number / self._part.per_second - loop.time()))
            await self._room.acquire()
            call = asyncio.create_task(self._call(f"{self._part.name}-{number}"))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            number += 1

    async def _call(self, text: str) -> None:
        began, error = time.time(), ""
        try:
            said = await self._echo.execute_operation(Echo.say, text, id=text)
            if said != text:
                error = f"another answer: {said}"
        except Exception as failed:  # noqa: BLE001 - the test decides which of them may be
            error = f"{type(failed).__name__}: {failed}"
        self._results.append((text, began, time.time(), error))
        self._room.release()
        if len(self._results) % TOLD_EVERY == 0:
            self._journal.write(answered=len(self._results))


async def watch(client: Client, journal: Journal, namespace: str, key_id: bytes) -> None:
    """Check again and again whether a signature of a key would be believed; write down when it is not."""
    believed_at = time.time()
    while True:
        asked_at = time.time()
        try:
            keys = await client.key_directory.keyset(namespace)
            known = keys.find_signing_key(key_id)
            if known is None:
                raise AssertionError(f"{namespace} never had this key")
            checks.sender_key_state(known.state)
        except (EnvelopeRejectedError, EnvelopeError, KeysError) as refused:
            journal.write(
                refused=key_id.hex(), believed_at=believed_at, refused_at=time.time(), why=str(refused)
            )
            return
        believed_at = asked_at
        await asyncio.sleep(PROBE_SECONDS)


async def instructions() -> AsyncIterator[dict[str, Any]]:
    """Return what comes on the input, until its end."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)


async def main(part: Part) -> None:
    """Serve, and do as told."""
    journal = Journal(Path(part.journal))
    async with await connect() as client:
        calls = Calls(client, part, journal)
        worker = Worker(client, task_queue=part.queue, nexus_service_handlers=[EchoHandler()])
        serving = asyncio.create_task(worker.run())
        journal.write(ready=part.name)
        watches = []
        async for told in instructions():
            match told:
                case {"do": "call"}:
                    calls.begin()
                case {"do": "stop"}:
                    await calls.stop()
                case {"do": "watch", "namespace": namespace, "key": key}:
                    job = asyncio.create_task(watch(client, journal, namespace, bytes.fromhex(key)))
                    watches.append(job)
                    journal.write(watching=key)
                case _:
                    raise AssertionError(told)
        await worker.shutdown()
        await serving


if __name__ == "__main__":
    asyncio.run(main(Part(**json.loads(sys.argv[1]))))
