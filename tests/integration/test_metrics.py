"""What Prometheus reads of a gateway that works."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.operation_calls import described, start
from tests.integration.operation_gateway import RunningGateway, Worker
from tests.integration.registry_gateway import development_config
from tests.integration.sealed_messages import (
    CALLER,
    ENDPOINT,
    HANDLER,
    TASK_QUEUE,
    outcome,
    ref,
    request_header,
    retryable,
    sealed,
)

from isthmus.gateway.config.settings import MetricsSettings
from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.metrics.http import MAX_HEAD_BYTES
from isthmus.gateway.server import Gateway
from isthmus.v1 import operation_pb2, worker_service_pb2

Samples = dict[tuple[str, tuple[str, ...]], float]
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
QUEUE = (ENDPOINT, HANDLER, TASK_QUEUE)


def samples(text: bytes) -> Samples:
    """Return the values by name and label values, in the order of the labels' names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def scraped(gateway: RunningGateway) -> Samples:
    """Return the samples of a gateway, as if it had not been asked for a while."""
    gateway.metrics._backlog._asked_at = None
    return samples(await gateway.metrics.render())


async def test_counters_tell_of_every_step_when_operations_live_and_end(
    operation_gateway: RunningGateway,
) -> None:
    """Started, failed, rejected, lost, closed, refused; commits with their sizes."""
    caller, owner = operation_gateway.client(CALLER), operation_gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=4)
    for _ in range(4):
        await start(caller, sealed(request_header()))
    tasks = [await worker.tasks.get() for _ in range(4)]
    await worker.answer(outcome(tasks[0]))
    await worker.answer(retryable(tasks[1]))
    await worker.answer(
        worker_service_pb2.TaskOutcome(
            task=ref(tasks[2]), rejection=worker_service_pb2.Rejection(code="E2E_REJECTED")
        )
    )
    await worker.disconnect()
    operation_gateway.advance(seconds=31)
    await operation_gateway.lost_sessions.step()
    with pytest.raises(grpc.aio.AioRpcError):
        await described(caller, b"0" * 16)
    # The same start again begins nothing.
    again = sealed(request_header())
    await start(caller, again)
    await start(caller, again)
    found = await scraped(operation_gateway)
    assert found["isthmus_operations_started_total", (ENDPOINT,)] == 5
    assert found["isthmus_operations_closed_total", (ENDPOINT, "succeeded")] == 1
    kinds = {
        kind: found["isthmus_attempts_failed_total", (ENDPOINT, kind)]
        for kind in ("failed", "rejected", "lease_lost")
    }
    assert kinds == {"failed": 1, "rejected": 1, "lease_lost": 1}
    assert found["isthmus_refusals_total", ("OPERATION_NOT_FOUND",)] == 1
    assert found["isthmus_commit_seconds_count", ()] == found["isthmus_commit_commands_count", ()] > 0


async def test_gauges_tell_what_waits_when_workers_come_and_go(operation_gateway: RunningGateway) -> None:
    """The backlog counts what could run if there were a worker; each open operation has one cause."""
    caller, owner = operation_gateway.client(CALLER), operation_gateway.client(HANDLER)
    idle = await scraped(operation_gateway)
    assert idle["isthmus_backlog_operations", QUEUE] == 0
    assert ("isthmus_worker_sessions", (HANDLER, TASK_QUEUE)) not in idle
    for _ in range(3):
        await start(caller, sealed(request_header()))
    operation_gateway.advance(seconds=7)
    waiting = await scraped(operation_gateway)
    assert waiting["isthmus_backlog_operations", QUEUE] == 3
    assert waiting["isthmus_backlog_oldest_seconds", QUEUE] == 7
    assert waiting["isthmus_open_operations", ("no_poller", ENDPOINT)] == 3
    assert waiting["isthmus_waiting_operations", ("no_poller",)] == 3
    worker = await Worker(owner).hello(grant=2)
    await worker.tasks.get()
    await worker.answer(retryable(await worker.tasks.get()))
    await worker.send(grant=1)
    task = await worker.tasks.get()
    lacking = worker_service_pb2.Rejection(code="KEY_UNAVAILABLE")
    await worker.answer(worker_service_pb2.TaskOutcome(task=ref(task), rejection=lacking))
    shown = await described(caller, task.operation_id)
    assert shown.waiting == operation_pb2.WAITING_CAUSE_KEY_UNAVAILABLE
    assert "lacked a key" in shown.waiting_reason
    await start(caller, sealed(request_header()))
    served = await scraped(operation_gateway)
    assert served["isthmus_worker_sessions", (HANDLER, TASK_QUEUE)] == 1
    assert served["isthmus_backlog_operations", QUEUE] == 1
    causes = {
        labels[0]: count for (name, labels), count in served.items() if name.endswith("waiting_operations")
    }
    assert {cause: count for cause, count in causes.items() if count} == {
        "fair_share": 1,
        "running": 1,
        "backoff": 1,
        "key_unavailable": 1,
    }
    assert served["isthmus_backlog_known", ()] == 1


async def test_store_is_asked_once_when_scrapes_follow_each_other(operation_gateway: RunningGateway) -> None:
    """The backlog is a few seconds old at most, whoever scrapes how often."""
    caller = operation_gateway.client(CALLER)
    before = samples(await operation_gateway.metrics.render())
    await start(caller, sealed(request_header()))
    soon = samples(await operation_gateway.metrics.render())
    later = await scraped(operation_gateway)
    backlogs = [found["isthmus_backlog_operations", QUEUE] for found in (before, soon, later)]
    assert backlogs == [0, 0, 1]
    assert soon["isthmus_operations_started_total", (ENDPOINT,)] == 1


async def test_backlog_is_left_out_when_the_store_does_not_answer(operation_gateway: RunningGateway) -> None:
    """An autoscaler is better off without a number than with an old one; the counters go on."""
    await start(operation_gateway.client(CALLER), sealed(request_header()))
    await scraped(operation_gateway)
    await operation_gateway.store.close()
    found = await scraped(operation_gateway)
    assert ("isthmus_backlog_operations", QUEUE) not in found
    assert found["isthmus_backlog_known", ()] == 0
    assert found["isthmus_operations_started_total", (ENDPOINT,)] == 1


@asynccontextmanager
async def measured(data_dir: Path, address: str = "127.0.0.1:0") -> AsyncGenerator[Gateway]:
    """Run a gateway with metrics."""
    config = replace(development_config(data_dir), metrics=MetricsSettings(enabled=True, address=address))
    gateway = await Gateway.start(config)
    try:
        yield gateway
    finally:
        await gateway.stop(0)


async def ask(address: str, line: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request; return status, headers and body."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{line} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status, *headers = head.decode().split("\r\n")
    return int(status.split()[1]), dict(header.lower().split(": ", 1) for header in headers), body


async def test_paths_answer_when_asked_over_http(tmp_path: Path) -> None:
    """Metrics for Prometheus, and the two questions of a load balancer."""
    async with measured(tmp_path / "data") as gateway:
        address = gateway.metrics_address
        status, headers, body = await ask(address, "GET /metrics")
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=")
        assert int(headers["content-length"]) == len(body)
        found = samples(body)
        assert found["isthmus_ready", ()] == 1
        assert found["process_start_time_seconds", ()] > 0
        assert (await ask(address, "HEAD /metrics"))[2] == b""
        assert (await ask(address, "GET /healthz?from=probe"))[2] == b"ok\n"
        assert (await ask(address, "GET /readyz"))[2] == b"ready\n"
        assert (await ask(address, "GET /else"))[0] == 404
        assert (await ask(address, "POST /metrics"))[0] == 405
        assert (await ask(address, "nonsense"))[0] == 405
        await gateway._readiness.drain()
        assert (await ask(address, "GET /readyz"))[0] == 503
        assert (await ask(address, "GET /healthz"))[0] == 200


async def test_connection_ends_without_an_answer_when_a_head_is_endless(tmp_path: Path) -> None:
    """Whoever sends too much gets nothing, and others are served."""
    async with measured(tmp_path / "data") as gateway:
        host, port = gateway.metrics_address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\n" + b"x" * 3 * MAX_HEAD_BYTES)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert (await ask(gateway.metrics_address, "GET /healthz"))[0] == 200


async def test_nothing_is_served_when_metrics_are_off(tmp_path: Path) -> None:
    """They are off unless the configuration says otherwise."""
    gateway = await Gateway.start(development_config(tmp_path / "data"))
    assert gateway.metrics_address == ""
    await gateway.stop(0)


async def test_start_is_refused_when_the_metrics_address_is_taken(tmp_path: Path) -> None:
    """Two gateways on one machine do not fight over it in silence."""
    async with measured(tmp_path / "one") as first:
        with pytest.raises(UnavailableError, match="for metrics"):
            async with measured(tmp_path / "two", first.metrics_address):
                raise AssertionError


async def test_every_metric_has_its_row_when_the_page_is_read(operation_gateway: RunningGateway) -> None:
    """What is served is explained, and nothing is explained that is not served."""
    families = text_string_to_metric_families((await operation_gateway.metrics.render()).decode())
    names = {family.name for family in families if family.name.startswith("isthmus_")}
    served = {name for name in names if not name.endswith("_created")}
    named = {name.removesuffix("_total") for name in re.findall(r"isthmus_\w+", PAGE.read_text("utf-8"))}
    assert named == served
