"""What people see while a call waits: on a terminal and in a log, also when the gateway does not answer."""

import asyncio
import os
import pty
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, redirect_stderr, suppress
from typing import TextIO

import nexusrpc
import pytest
from tests.faults.tcp_proxy import FaultProxy

from isthmus.cli.waiting import hand_over, wait_for_result
from isthmus.client import Client
from isthmus.client.handle import OperationHandle
from isthmus.client.profile import Profile
from isthmus.testing import LocalGateway

pytestmark = pytest.mark.timeout(60)

SILENT = "the gateway has not answered since 20"
NOBODY = "no poller: "
INTERVAL_SECONDS = 0.05


@nexusrpc.service
class Payments:
    """Served by nobody."""

    charge: nexusrpc.Operation[str, str]


class Terminal:
    """The standard error of a process, on a terminal; keeps what was written to it."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream: TextIO = os.fdopen(slave, "w")
        self._seen = b""
        # Nobody may wait for room on it: neither the display nor the test that reads it.
        self._reader = threading.Thread(target=self._keep, name="terminal")
        self._reader.start()

    def as_stderr(self) -> AbstractContextManager[object]:
        """Let standard error be this one for the length of a block."""
        return redirect_stderr(self.stream)

    def read(self) -> str:
        """Return everything that was written so far."""
        return self._seen.decode(errors="replace")

    def close(self) -> None:
        """Close both ends."""
        self.stream.close()
        self._reader.join()
        os.close(self._master)

    def _keep(self) -> None:
        # Once nobody has the other end, reading it fails, or ends.
        with suppress(OSError):
            while data := os.read(self._master, 65536):
                self._seen += data


class LogFile:
    """The same for what is no terminal."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._seen = ""

    def as_stderr(self) -> AbstractContextManager[object]:
        """It is already."""
        return nullcontext()

    def read(self) -> str:
        """Return everything that was written so far."""
        self._seen += self._capsys.readouterr().err
        return self._seen


@pytest.fixture(params=["terminal", "log"])
def screen(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal | LogFile]:
    """Where the display writes to: each kind of it."""
    if request.param == "log":
        yield LogFile(capsys)
        return
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    yield terminal
    terminal.close()


@asynccontextmanager
async def behind(proxy: FaultProxy, gateway: LocalGateway) -> AsyncGenerator[Client]:
    """Connect through a proxy that can go silent."""
    about = await gateway.namespace("data-team")
    client = await Client.connect(
        proxy.address,
        profile=Profile(),
        keyring=about.keyring,
        trust=about.trust,
        credentials=about.credentials,
    )
    async with client:
        yield client


async def seen(screen: Terminal | LogFile, text: str, *, after: str = "") -> str:
    """Return what stands on the screen behind ``after`` once the text stands there."""
    while text not in (found := screen.read().rpartition(after)[2] if after else screen.read()):  # noqa: ASYNC110 - a terminal tells nobody
        await asyncio.sleep(INTERVAL_SECONDS)
    return found


async def test_line_says_that_the_gateway_is_silent_when_it_stops_answering(
    screen: Terminal | LogFile,
) -> None:
    """Not the last cause for ever: who reads it would look for a worker. Then it says the cause again."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("payments", namespace="app-team", allow=["data-team"])
        with FaultProxy(gateway.address) as proxy, screen.as_stderr():
            async with behind(proxy, gateway) as client:
                handle: OperationHandle[str] = await client.create_nexus_client(
                    "payments", Payments
                ).start_operation(Payments.charge, "one")
                waiting = asyncio.create_task(
                    wait_for_result(handle, timeout_=None, advice="--timeout limits the wait")
                )
                await seen(screen, NOBODY)
                proxy.silence()
                silent = await seen(screen, SILENT)
                assert f"the wait for {handle.operation_id} goes on by itself (--timeout limits" in silent
                proxy.cut()
                await seen(screen, NOBODY, after=SILENT)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)


async def test_line_says_that_a_call_is_handed_over_when_the_start_is_not_acknowledged(
    screen: Terminal | LogFile,
) -> None:
    """Nothing at all would look like a hanging process; the start arrives when the gateway is back."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("payments", namespace="app-team", allow=["data-team"])
        with FaultProxy(gateway.address) as proxy, screen.as_stderr():
            async with behind(proxy, gateway) as client:
                proxy.silence()
                payments = client.create_nexus_client("payments", Payments)
                start = payments.start_operation(Payments.charge, "one")
                starting = asyncio.create_task(
                    hand_over(start, client=client, what="payments/Payments/charge")
                )
                await seen(screen, "handing payments/Payments/charge to the gateway")
                silent = await seen(screen, SILENT)
                assert "the start of payments/Payments/charge is repeated by itself until it does" in silent
                proxy.cut()
                assert (await starting).operation_id.startswith("op-")


async def test_nothing_is_shown_when_the_start_is_acknowledged_at_once(
    screen: Terminal | LogFile,
) -> None:
    """Nothing flickers."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("payments", namespace="app-team", allow=["data-team"])
        client = await gateway.client("data-team")
        start = client.create_nexus_client("payments", Payments).start_operation(Payments.charge, "one")
        with screen.as_stderr():
            await hand_over(start, client=client, what="payments/Payments/charge")
        assert screen.read() == ""
