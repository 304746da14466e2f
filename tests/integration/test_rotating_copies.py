"""A team whose processes read copies of its keyring, as on several machines, while its keys rotate."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.test_local_gateway import Echo, EchoHandler

from isthmus.cli.connection import GatewayConnection
from isthmus.cli.exit_code import CliError
from isthmus.cli.key_rotation import KeyRotation, Rotated
from isthmus.cli.keyset_directory import GatewayKeysets
from isthmus.cli.propagation import Propagation, standing
from isthmus.cli.reported_holders import GatewayKeyHolders
from isthmus.client import Client, SyncClient
from isthmus.client.engine import now_ms
from isthmus.client.errors import NotFoundError
from isthmus.client.nexus_client import NexusClient
from isthmus.client.profile import Profile
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.publication import KeysetPublication
from isthmus.testing import LocalGateway, LocalNamespace
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import SyncConnection
from isthmus.wire.names import format_operation_id
from isthmus.worker import Worker

SECONDS = 20.0
QUICK = Profile(key_cache_seconds=1)


def copied(about: LocalNamespace, folder: Path) -> FileKeyring:
    """Return the keyring as another machine has it: the file, and what opens it."""
    folder.mkdir()
    deliver(about, folder)
    copy = FileKeyring.__new__(FileKeyring)
    for name in FileKeyring.__slots__:
        setattr(copy, name, getattr(about.keyring, name))
    copy._path = folder / "keyring"
    return copy


def deliver(about: LocalNamespace, folder: Path) -> None:
    """Bring the keyring to another machine, as whatever distributes secrets does: at once or not at all."""
    shutil.copy2(about.keyring._path, folder / "new")
    (folder / "new").replace(folder / "keyring")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A gateway, a team that serves from a copy of its keyring, and one that calls."""

    gateway: LocalGateway
    about: LocalNamespace
    machine: Path
    client: Client
    echo: NexusClient[Echo]

    def holders(self, connection: SyncConnection) -> GatewayKeyHolders:
        """Return who of the serving team has which keys."""
        return GatewayKeyHolders(GatewayConnection(connection, self.about.credentials))

    def rotate(self, *, timeout_seconds: float = SECONDS, without: str = "") -> Rotated:
        """Rotate the keys of the serving team where its keyring is; the others get no time by themselves."""
        about, said = self.about, list[str]()
        connection = SyncConnection(ChannelSettings(address=about.address), about.credentials)
        try:
            return KeyRotation(
                keyring=about.keyring,
                note=self.machine / "note",
                publication=KeysetPublication(
                    keyring=about.keyring,
                    signer=about.keyring.signer_key(),
                    directory=GatewayKeysets(GatewayConnection(connection, about.credentials)),
                    now_ms=now_ms,
                ),
                propagation=Propagation(
                    holders=self.holders(connection),
                    wait_seconds=600,
                    timeout_seconds=timeout_seconds,
                    without=frozenset({without}),
                    now_ms=now_ms,
                    sleep=time.sleep,
                    report=said.append,
                ),
                now_ms=now_ms,
                report=said.append,
            ).run()
        finally:
            connection.close()

    async def known(self, *, alive: int, lacking: int = 0) -> None:
        """Wait until so many processes of the team live, and so many of them lack keys of its keyring."""
        connection = SyncConnection(ChannelSettings(address=self.about.address), self.about.credentials)
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    keys = frozenset(bytes(key.key_id) for key in self.about.keyring.public_keys())
                    found = standing(
                        await asyncio.to_thread(self.holders(connection).holders), keys, without=frozenset()
                    )
                    if (found.alive, len(found.lacking)) == (alive, lacking):
                        return
                    await asyncio.sleep(0.02)
        finally:
            connection.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One worker, on a machine of its own."""
    async with LocalGateway() as gateway, AsyncExitStack() as stack:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team"])
        about = await gateway.namespace("app-team")
        client = await Client.connect(
            about.address,
            profile=QUICK,
            keyring=copied(about, tmp_path / "machine"),
            trust=about.trust,
            credentials=about.credentials,
        )
        await stack.enter_async_context(client)
        worker = Worker(client, task_queue="echo", nexus_service_handlers=[EchoHandler()])
        serving = asyncio.create_task(worker.run())
        caller = await gateway.client("data-team", profile=QUICK)
        world = World(
            gateway=gateway,
            about=about,
            machine=tmp_path / "machine",
            client=client,
            echo=caller.create_nexus_client(endpoint="echo", service=Echo),
        )
        await world.known(alive=1)
        yield world
        await worker.shutdown()
        await serving


async def test_new_keys_are_used_when_every_copy_has_them_and_not_before(world: World) -> None:
    """The copy is delivered once, when the new keys are announced: what is in use, the keyset tells it."""
    before = world.about.keyring.signing_key().key_id
    rotating = asyncio.create_task(asyncio.to_thread(world.rotate))
    await world.known(alive=1, lacking=1)
    assert await world.echo.execute_operation(Echo.say, "meanwhile") == "meanwhile, data-team"
    assert not rotating.done()
    assert world.about.keyring.signing_key().key_id == before
    deliver(world.about, world.machine)
    rotated = await rotating
    assert world.about.keyring.signing_key().key_id in rotated.activated
    for number in range(3):
        assert await world.echo.execute_operation(Echo.say, str(number)) == f"{number}, data-team"
    assert world.client.keyring.signing_key().key_id in rotated.activated
    states = {bytes(key.key_id): key.state.name for key in world.client.keyring.public_keys()}
    assert {states[key_id] for key_id in rotated.activated} == {"PRE_PUBLISHED"}


async def test_nothing_is_lost_when_new_keys_are_used_too_early(world: World) -> None:
    """As a gateway that lies could bring about: what the copy cannot open yet waits until it can."""
    with pytest.raises(CliError, match=r"after 0 s, 1 of 1 live processes still lack .* again: it goes on"):
        await asyncio.to_thread(world.rotate, timeout_seconds=0.2)
    await asyncio.to_thread(world.rotate, without="app-team/test")
    handle = await world.echo.start_operation(Echo.say, "early")
    async with asyncio.timeout(SECONDS):
        while True:
            if (await handle.describe()).waiting == "key_unavailable":
                break
            await asyncio.sleep(0.02)
    deliver(world.about, world.machine)
    assert await handle.result() == "early, data-team"


async def test_process_is_not_waited_for_when_it_has_left(world: World) -> None:
    """It says so itself, async or not; it may come back, so it is not forgotten either."""
    about = world.about

    def come_and_go() -> None:
        with (
            SyncClient.connect(
                about.address,
                profile=QUICK,
                keyring=about.keyring,
                trust=about.trust,
                credentials=about.credentials,
            ) as client,
            pytest.raises(NotFoundError),
        ):
            client.get_operation_handle(format_operation_id(bytes(16))).describe()

    await asyncio.to_thread(come_and_go)
    connection = SyncConnection(ChannelSettings(address=about.address), about.credentials)
    holders = await asyncio.to_thread(world.holders(connection).holders)
    connection.close()
    assert holders is not None
    assert sorted(holder.is_alive for holder in holders) == [False, True]
