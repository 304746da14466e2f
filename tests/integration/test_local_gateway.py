"""The gateway that users put into their own tests."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

from isthmus.cli.connection import GatewayConnection
from isthmus.cli.key_rotation import KeyRotation
from isthmus.cli.keyset_directory import GatewayKeysets
from isthmus.cli.propagation import Propagation
from isthmus.cli.reported_holders import GatewayKeyHolders
from isthmus.client.engine import now_ms
from isthmus.client.errors import ConfigurationError, PermissionDeniedError
from isthmus.client.profile import Profile
from isthmus.keys.publication import KeysetPublication
from isthmus.testing import LocalGateway, LocalNamespace
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import SyncConnection
from isthmus.wire.public_key import KeyState
from isthmus.worker import current

ROOT = Path(__file__).resolve().parents[2]


@nexusrpc.service
class Echo:
    """Says things back."""

    say: nexusrpc.Operation[str, str]
    stumble: nexusrpc.Operation[str, str]


@service_handler(service=Echo)
class EchoHandler:
    """Says things back, the second time at the latest."""

    @sync_operation
    async def say(self, _ctx: StartOperationContext, text: str) -> str:
        """Say it back, to whom."""
        return f"{text}, {current().caller_namespace}"

    @sync_operation
    async def stumble(self, _ctx: StartOperationContext, text: str) -> str:
        """Fail once."""
        if current().attempt == 1:
            raise nexusrpc.HandlerError("not yet", type=nexusrpc.HandlerErrorType.UNAVAILABLE)
        return text


async def test_call_is_answered_when_the_endpoint_allows_it() -> None:
    """Two namespaces, keys, pins, an endpoint and a worker, in a few lines."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team"])
        async with gateway.worker("app-team", task_queue="echo", nexus_service_handlers=[EchoHandler()]):
            client = await gateway.client("data-team")
            echo = client.create_nexus_client(endpoint="echo", service=Echo)
            assert await echo.execute_operation(Echo.say, "hello") == "hello, data-team"
            assert await echo.execute_operation(Echo.stumble, "up again") == "up again"


async def test_call_is_denied_when_another_namespace_makes_it() -> None:
    """Default deny holds in tests too."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team/Echo/say"])
        for namespace, operation in (("ai-team", Echo.say), ("data-team", Echo.stumble)):
            client = await gateway.client(namespace)
            echo = client.create_nexus_client(endpoint="echo", service=Echo)
            with pytest.raises(PermissionDeniedError):
                await echo.start_operation(operation, "hello")


async def test_operation_fails_when_its_attempts_are_used_up() -> None:
    """A test that waits for a redrive would wait for ever."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team"], max_attempts=1)
        async with gateway.worker("app-team", task_queue="echo", nexus_service_handlers=[EchoHandler()]):
            client = await gateway.client("data-team")
            echo = client.create_nexus_client(endpoint="echo", service=Echo)
            handle = await echo.start_operation(Echo.stumble, "down")
            with pytest.raises(Exception, match=r"exhausted|not yet"):
                await handle.result()


async def test_no_call_fails_when_keys_rotate_under_running_processes(tmp_path: Path) -> None:
    """Client and worker were connected before; neither is restarted, whichever side rotates."""
    async with LocalGateway() as gateway:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team"])
        for team in ("app-team", "data-team"):
            await gateway.client(team, profile=Profile(key_cache_seconds=1))
        async with gateway.worker("app-team", task_queue="echo", nexus_service_handlers=[EchoHandler()]):
            client = await gateway.client("data-team")
            echo = client.create_nexus_client(endpoint="echo", service=Echo)
            for team in ("app-team", "data-team"):
                about = await gateway.namespace(team)
                rotating = asyncio.create_task(asyncio.to_thread(rotate, about, tmp_path / team))
                calls = 0
                while not rotating.done() or calls < 3:
                    assert await echo.execute_operation(Echo.say, f"hello {calls}")
                    calls += 1
                await rotating
                states = [record.state for record in about.keyring.public_keys()]
                assert sorted(states) == [
                    KeyState.ACTIVE,
                    KeyState.ACTIVE,
                    KeyState.DECRYPT_ONLY,
                    KeyState.VERIFY_ONLY,
                ]
                assert await echo.execute_operation(Echo.say, "afterwards") == "afterwards, data-team"


def rotate(about: LocalNamespace, note: Path) -> None:
    """Rotate the keys of a namespace, as another process of its team would."""
    connection = SyncConnection(ChannelSettings(address=about.address), about.credentials)
    publication = KeysetPublication(
        keyring=about.keyring,
        signer=about.keyring.signer_key(),
        directory=GatewayKeysets(GatewayConnection(connection, about.credentials)),
        now_ms=now_ms,
    )
    try:
        KeyRotation(
            keyring=about.keyring,
            note=note,
            publication=publication,
            propagation=Propagation(
                holders=GatewayKeyHolders(GatewayConnection(connection, about.credentials)),
                wait_seconds=0,
                timeout_seconds=30,
                without=frozenset(),
                now_ms=now_ms,
                sleep=time.sleep,
                report=lambda text: None,
            ),
            now_ms=now_ms,
            report=lambda text: None,
        ).run()
    finally:
        connection.close()


async def test_namespace_is_the_same_when_it_is_asked_for_again() -> None:
    """So is its client."""
    async with LocalGateway() as gateway:
        assert await gateway.namespace("app-team") is await gateway.namespace("app-team")
        assert await gateway.client("app-team") is await gateway.client("app-team")


async def test_gateways_do_not_meet_when_several_run() -> None:
    """Each has a port and a database of its own."""
    async with LocalGateway() as first, LocalGateway() as second:
        assert first.address != second.address
        await asyncio.gather(
            first.endpoint("echo", namespace="app-team"), second.endpoint("echo", namespace="other-team")
        )


async def test_gateway_says_what_to_do_when_it_does_not_run() -> None:
    """Instead of a failure somewhere inside."""
    with pytest.raises(ConfigurationError, match="async with LocalGateway"):
        await LocalGateway().client("data-team")


def test_example_passes_when_it_is_run_as_documented() -> None:
    """The example that docs/getting-started.md names, by the command that it names."""
    page = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    assert "`examples/test_payments.py`" in page
    assert "`pytest examples`" in page
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


async def test_local_gateway_stays_apart_when_the_shell_is_set_up_for_a_real_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever follows the README has exported ISTHMUS_CONFIG, and runs tests in the same terminal."""
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        'current = "x"\n[profiles.x]\naddress = "https://gw:1"\nnamespace = "x"\nserver_name = "gw"\n'
    )
    monkeypatch.setenv("ISTHMUS_CONFIG", str(profiles))
    monkeypatch.setenv("ISTHMUS_NAMESPACE", "x")
    monkeypatch.setenv("ISTHMUS_TOKEN", "of another gateway")
    async with LocalGateway() as gateway:
        client = await gateway.client("data-team")
        assert client.namespace == "data-team"
