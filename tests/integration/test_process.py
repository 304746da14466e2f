"""A gateway as a process of its own: it starts, and signals end it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.integration.registry_gateway import health_of

PROGRAM = """
import asyncio, os
from isthmus.gateway.config.loading import load_config
from isthmus.gateway.process import run
asyncio.run(run(load_config(None, os.environ)))
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A gateway process that was started."""
    environ = {
        **os.environ,
        "ISTHMUS_GATEWAY_TRUST_DOMAIN": "example.com",
        "ISTHMUS_GATEWAY_DATA_DIR": str(tmp_path / "data"),
        "ISTHMUS_GATEWAY_LISTEN_ADDRESS": "127.0.0.1:0",
        "ISTHMUS_GATEWAY_DRAIN_SECONDS": "600",
        "ISTHMUS_GATEWAY_ISSUERS": '[{"kind": "development"}]',
    }
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environ, stderr=subprocess.PIPE, text=True
    ) as started:
        yield started
        started.kill()


def read_until(process: subprocess.Popen[str], message: str) -> dict[str, str]:
    """Read the log up to a message; return its fields."""
    assert process.stderr is not None
    for line in process.stderr:
        fields: dict[str, str] = json.loads(line)
        if fields["message"] == message:
            return fields
    pytest.fail(f"the gateway ended without saying {message!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_drains_and_ends_when_signaled(process: subprocess.Popen[str], number: int) -> None:
    """One signal is enough when nobody is in the way; the log is JSON when nobody watches a terminal."""
    read_until(process, "serving")
    process.send_signal(number)
    read_until(process, "stopped")
    assert process.wait(30) == 0


def test_process_ends_at_once_when_signaled_twice(process: subprocess.Popen[str]) -> None:
    """A client that does not leave delays the first signal, not the second."""
    address = read_until(process, "serving")["address"]
    with grpc.insecure_channel(address) as channel:
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
