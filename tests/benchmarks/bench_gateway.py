"""What the gateway costs: CPU of its process for one durable operation, by the number of callers.

``python tests/benchmarks/bench_gateway.py [--json] [--operations N] [--callers N …] [--profile FILE]``

The gateway runs in a process of its own, as it is deployed: SQLite on disk, uvloop, tokens, policy. Caller
and worker share this process: one session stream, one work stream. Nothing is sealed: the messages are made
beforehand, with a true header around bytes that a gateway could not open anyway.
"""

import argparse
import asyncio
import cProfile
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import grpc.aio
import uvloop

# As a script, too: then only this file's own folder would be on the path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.integration.sealed_messages import (
    CALLER,
    ENDPOINT,
    HANDLER,
    TASK_QUEUE,
    TRUST_DOMAIN,
    answer_to,
    ref,
    request_header,
    sealed,
)

from isthmus.endpoints.endpoint import AllowRule, Endpoint
from isthmus.gateway.authn.development import DevelopmentIssuer
from isthmus.gateway.config.settings import GatewayConfig, IssuerSettings, ListenSettings
from isthmus.gateway.ports import Namespace, UnitOfWork
from isthmus.gateway.server import Gateway
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.v1 import (
    operation_service_pb2,
    operation_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Direction
from isthmus.wire.names import EndpointName

BODY = os.urandom(512)
CREDITS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one number of callers gave."""

    callers: int
    operations: int
    operations_per_second: float
    gateway_microseconds_per_operation: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An operation with its sealed messages."""

    request: bytes
    outcome: bytes


def prepare(count: int) -> list[Prepared]:
    """Make the messages of some operations."""
    now_ms = time.time_ns() // 1_000_000
    made = []
    for _ in range(count):
        header = request_header(
            issued_at_ms=now_ms, expires_at_ms=now_ms + 3_600_000, operation_id=os.urandom(16)
        )
        request = sealed(header, BODY)
        made.append(Prepared(request=request, outcome=answer_to(request, Direction.RESULT)))
    return made


def config(directory: Path) -> GatewayConfig:
    """Return the configuration of the gateway."""
    return GatewayConfig(
        trust_domain=TRUST_DOMAIN,
        data_dir=directory,
        listen=ListenSettings(address="127.0.0.1:0"),
        issuers=(IssuerSettings(kind="development"),),
    )


async def serve(directory: Path, profile: str) -> None:
    """Run the gateway until the standard input ends."""
    gateway = await Gateway.start(config(directory))
    profiler = cProfile.Profile() if profile else None
    if profiler is not None:
        profiler.enable()
    print(gateway.address, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    if profiler is not None:
        profiler.disable()
        profiler.dump_stats(profile)
    await gateway.stop(0)


async def set_up(directory: Path) -> None:
    """Write namespaces and endpoint into a new database."""
    store = SqliteStore(config(directory).database_file)
    await store.open()
    now = datetime.now(UTC)

    def command(uow: UnitOfWork) -> None:
        for name in (CALLER, HANDLER):
            uow.insert_namespace(Namespace(name=name, description="", created_at=now))
        uow.put_endpoint(
            Endpoint(
                name=EndpointName(ENDPOINT),
                namespace=HANDLER,
                task_queue=TASK_QUEUE,
                allow=(AllowRule(namespace=CALLER),),
                etag="1",
                created_at=now,
                updated_at=now,
            )
        )

    await store.transact(command)
    await store.close()


class Load:
    """One caller's session and one worker, both as cheap as possible."""

    def __init__(self, address: str, issuer: DevelopmentIssuer) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        operations: Any = operation_service_pb2_grpc.OperationServiceStub(self._channel)
        workers: Any = worker_service_pb2_grpc.WorkerServiceStub(self._channel)
        self._session = operations.Session(metadata=_metadata(issuer, CALLER))
        self._work = workers.Work(metadata=_metadata(issuer, HANDLER))
        self._jobs: list[asyncio.Task[None]] = []
        self._outcomes: dict[bytes, bytes] = {}
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._unsent: list[Any] = []
        self._wake = asyncio.Event()
        self._next_id = 0

    async def start(self) -> None:
        """Open both streams."""
        hello = worker_service_pb2.WorkerHello(session_id=os.urandom(16), task_queue=TASK_QUEUE)
        await self._work.write(worker_service_pb2.WorkRequest(hello=hello, credits=CREDITS))
        self._jobs = [
            asyncio.create_task(job()) for job in (self._read_replies, self._write_calls, self._answer_tasks)
        ]

    async def execute(self, operation: Prepared) -> float:
        """Run one operation; return how long it took, seconds."""
        began = time.perf_counter()
        self._next_id += 1
        future = asyncio.get_running_loop().create_future()
        self._open[self._next_id] = future
        self._outcomes[parse_envelope(operation.request).header.operation_id] = operation.outcome
        start = operation_service_pb2.StartOperationRequest(envelope=operation.request)
        self._unsent.append(
            operation_service_pb2.SessionCall(
                call_id=self._next_id,
                execute=operation_service_pb2.ExecuteOperationRequest(start=start, wait_ms=60_000),
            )
        )
        self._wake.set()
        reply = await future
        if not reply.execute.status.ending.attested:
            raise RuntimeError(str(reply))
        return time.perf_counter() - began

    async def stop(self) -> None:
        """Close the streams."""
        for job in self._jobs:
            job.cancel()
        await self._channel.close()

    async def _write_calls(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            calls, self._unsent = self._unsent, []
            await self._session.write(operation_service_pb2.SessionRequest(calls=calls))

    async def _read_replies(self) -> None:
        async for frame in self._session:
            for reply in frame.replies:
                self._open.pop(reply.call_id).set_result(reply)

    async def _answer_tasks(self) -> None:
        async for frame in self._work:
            if frame.tasks:
                outcomes = [
                    worker_service_pb2.TaskOutcome(
                        task=ref(task), envelope=self._outcomes.pop(task.operation_id)
                    )
                    for task in frame.tasks
                ]
                await self._work.write(
                    worker_service_pb2.WorkRequest(outcomes=outcomes, credits=len(outcomes))
                )


def _metadata(issuer: DevelopmentIssuer, namespace: str) -> tuple[tuple[str, str], ...]:
    token = issuer.mint(
        namespace=namespace, subject="process", now=datetime.now(UTC), lifetime=timedelta(hours=1)
    )
    return (("authorization", f"Bearer {token}"),)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def run_callers(load: Load, operations: Iterator[Prepared], callers: int) -> list[float]:
    """Share the operations among callers that each wait for one at a time."""
    latencies: list[float] = []

    async def caller() -> None:
        for operation in operations:
            latencies.append(await load.execute(operation))  # noqa: PERF401 - one after the other

    await asyncio.gather(*(caller() for _ in range(callers)))
    return latencies


async def measure(arguments: argparse.Namespace) -> list[Figures]:
    """Run the gateway and the load."""
    figures = []
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        await set_up(directory)
        command = [sys.executable, __file__, "--serve", name, "--profile", arguments.profile]
        gateway = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        assert gateway.stdin is not None
        assert gateway.stdout is not None
        address = (await asyncio.to_thread(gateway.stdout.readline)).strip()
        load = Load(address, DevelopmentIssuer.load_or_create(directory))
        await load.start()
        await run_callers(load, iter(prepare(200)), 8)
        for callers in arguments.callers:
            count = arguments.operations if callers > 1 else max(arguments.operations // 10, 10)
            operations = prepare(count)
            cpu, began = cpu_seconds(gateway.pid), time.perf_counter()
            latencies = sorted(await run_callers(load, iter(operations), callers))
            seconds = time.perf_counter() - began
            figures.append(
                Figures(
                    callers=callers,
                    operations=count,
                    operations_per_second=round(count / seconds, 1),
                    gateway_microseconds_per_operation=round(
                        (cpu_seconds(gateway.pid) - cpu) / count * 1e6, 1
                    ),
                    p50_ms=round(median(latencies) * 1000, 2),
                    p99_ms=round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
                )
            )
        await load.stop()
        gateway.stdin.close()
        await asyncio.to_thread(gateway.wait)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--directory", help="where the database is put")
    parser.add_argument("--profile", default="", help="file for a profile of the gateway's event loop")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(Path(arguments.serve), arguments.profile))
        return
    figures = uvloop.run(measure(arguments))
    for entry in figures:
        print(json.dumps(asdict(entry)) if arguments.json else entry)


if __name__ == "__main__":
    main()
