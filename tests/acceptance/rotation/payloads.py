"""What the gateway keeps for a team: what is sealed to a key of it, and what still opens."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.deployment.team import Team
from tests.acceptance.deployment.two_teams import ENDPOINT
from tests.acceptance.rotation.member import Echo
from tests.acceptance.rotation.members import DATA_ENDPOINT

from isthmus.client import Client
from isthmus.client.errors import KeyDestroyedError, UnverifiedAnswerError
from isthmus.client.nexus_client import NexusClient
from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError
from isthmus.envelope.replay import RedeliveryGuard
from isthmus.transport.async_stubs import key_stub_of
from isthmus.transport.channel import ChannelSettings
from isthmus.v1 import key_service_pb2, worker_service_pb2
from isthmus.wire.names import parse_operation_id
from isthmus.worker.connected import ClientKeys, rules_of
from isthmus.worker.envelopes import Identity, TaskEnvelopes
from isthmus.worker.stub import worker_stub

SIDE_BY_SIDE = 64
CALL_SECONDS = 60.0

Payload = tuple[str, bytes]
"""(part of an operation, operation id)."""


async def connected(team: Team, address: str) -> Client:
    """Connect where a team's keyring is."""
    return await Client.connect(
        channel=ChannelSettings(address=address),
        keyring=team.open_keyring(),
        trust=team.trust_file,
        credentials=team.tokens(),
    )


async def sealed_to(client: Client, key_id: bytes) -> set[Payload]:
    """Return what is sealed to a key, by what the gateway lists."""
    found: set[Payload] = set()
    request = key_service_pb2.ListSealedMessagesRequest(key_id=key_id)
    while True:
        answer = await client.connection.call(
            key_stub_of(client.connection).ListSealedMessages, request, timeout_seconds=CALL_SECONDS
        )
        for message in answer.messages:
            _, ident, part, _ = message.place.split("/")
            found.add((part, bytes.fromhex(ident)))
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


@dataclass(slots=True)
class Reading:
    """Reads outcomes of what a team called, and requests of what the other team called there."""

    client: Client
    other: Client
    lost: set[Payload] = field(default_factory=set)
    """What does not open because its key was destroyed."""
    destroyed: set[str] = field(default_factory=set)
    """Ids of the keys that were said to be destroyed."""
    refused: set[Payload] = field(default_factory=set)
    """What is not believed because the key that signed it was revoked."""
    opened: int = 0

    async def read(self, *, called: Iterable[str], handled: Iterable[str]) -> None:
        """Read everything; operations are named by their request ids."""
        echo = self.client.create_nexus_client(ENDPOINT, Echo)
        asked = self.other.create_nexus_client(DATA_ENDPOINT, Echo)
        room = asyncio.Semaphore(SIDE_BY_SIDE)

        async def in_turn(job: Coroutine[Any, Any, None]) -> None:
            async with room:
                await job

        async with asyncio.TaskGroup() as group:
            for text in called:
                group.create_task(in_turn(self._read_outcome(echo, text)))
            for text in handled:
                group.create_task(in_turn(self._read_request(asked, text)))

    async def _read_outcome(self, echo: NexusClient[Echo], text: str) -> None:
        handle = echo.get_operation_handle(Echo.say, id=text)
        payload = ("outcome", bytes(parse_operation_id(handle.operation_id)))
        try:
            assert await handle.result() == text
        except KeyDestroyedError as gone:
            self.lost.add(payload)
            self.destroyed.add(gone.key_id)
        except UnverifiedAnswerError:
            self.refused.add(payload)
        else:
            self.opened += 1

    async def _read_request(self, asked: NexusClient[Echo], text: str) -> None:
        client, shown = self.client, asked.get_operation_handle(Echo.say, id=text).operation_id
        operation_id = parse_operation_id(shown)
        answer = await client.connection.call(
            worker_stub(client.connection).GetRequest,
            worker_service_pb2.GetRequestRequest(operation_id=operation_id),
            timeout_seconds=CALL_SECONDS,
        )
        identity = Identity(
            namespace=client.namespace, trust_domain=client.trust_domain, principal=client.principal
        )
        opener = TaskEnvelopes(
            identity=identity,
            keys=ClientKeys.of(client),
            guard=RedeliveryGuard(),
            rules=rules_of(client),
        )
        payload = ("request", bytes(operation_id))
        try:
            await opener.open_request(
                answer.request,
                caller_namespace=self.other.namespace,
                operation_id=operation_id,
                task_queue=DATA_ENDPOINT,
            )
        except KeyUnavailableError as gone:
            self.lost.add(payload)
            self.destroyed.add(gone.key_id.hex())
        except EnvelopeRejectedError:
            self.refused.add(payload)
        else:
            self.opened += 1
