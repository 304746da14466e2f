"""Two teams whose only way to each other is a gateway that lies."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import nexusrpc
import nexusrpc.handler
from tests.adversarial.liar import Liar, lying_gateway

from isthmus.client import Client, NexusClient
from isthmus.testing import LocalGateway, LocalNamespace
from isthmus.worker import Worker, current

CALLER, OWNER, MALLORY = "data-team", "app-team", "mallory"
ENDPOINT, QUEUE = "payments", "payments-queue"


@nexusrpc.service
class Payments:
    """What is called."""

    double: nexusrpc.Operation[int, int]
    hang: nexusrpc.Operation[int, int]
    count: nexusrpc.Operation[int, int]
    gather: nexusrpc.Operation[int, list[int]]


@nexusrpc.handler.service_handler(service=Payments)
@dataclass(slots=True)
class PaymentsHandler:
    """Serves Payments, and remembers whom for."""

    calls: list[int] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[int] = field(default_factory=list)
    steps: "asyncio.Queue[int]" = field(default_factory=asyncio.Queue)

    @nexusrpc.handler.sync_operation
    async def double(self, _context: nexusrpc.handler.StartOperationContext, amount: int) -> int:
        """Return twice the amount."""
        self.calls.append(amount)
        return 2 * amount

    @nexusrpc.handler.sync_operation
    async def count(self, _context: nexusrpc.handler.StartOperationContext, amount: int) -> int:
        """Report what the test says, until that is the amount."""
        while (step := await self.steps.get()) != amount:
            await current().progress(step).durable()
        return amount

    @nexusrpc.handler.sync_operation
    async def gather(self, _context: nexusrpc.handler.StartOperationContext, amount: int) -> list[int]:
        """Return so many signals."""
        self.hanging.set()
        gathered: list[int] = []
        async for signal in current().signals():
            gathered.append(signal.value)
            self.heard.append(signal.value)
            if len(gathered) == amount:
                break
        return gathered

    @nexusrpc.handler.sync_operation
    async def hang(self, _context: nexusrpc.handler.StartOperationContext, amount: int) -> int:
        """Return the amount, once the test says so."""
        self.calls.append(amount)
        self.hanging.set()
        await self.release.wait()
        return amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Deceived:
    """The teams, and the gateway between them."""

    honest: LocalGateway
    liar: Liar
    caller: LocalNamespace
    owner: LocalNamespace
    mallory: LocalNamespace
    client: Client
    handler: PaymentsHandler
    stack: AsyncExitStack

    @property
    def payments(self) -> NexusClient[Payments]:
        """A client of the service."""
        return self.client.create_nexus_client(ENDPOINT, Payments)

    async def connect(self, about: LocalNamespace) -> Client:
        """Connect a namespace through the liar, with the memory of its trust store and no other."""
        client = await Client.connect(
            self.liar.address, keyring=about.keyring, trust=about.trust, credentials=about.credentials
        )
        return await self.stack.enter_async_context(client)

    async def serve(self, about: LocalNamespace, handler: PaymentsHandler) -> Worker:
        """Serve the queue of a namespace through the liar."""
        client = await self.connect(about)
        worker = Worker(client, task_queue=QUEUE, nexus_service_handlers=[handler])
        return await self.stack.enter_async_context(worker)


@asynccontextmanager
async def deceived(*, serving: bool = True) -> AsyncGenerator[Deceived]:
    """Run an honest gateway, a liar in front of it, a worker and a client."""
    async with AsyncExitStack() as stack:
        honest = await stack.enter_async_context(LocalGateway())
        await honest.endpoint(ENDPOINT, namespace=OWNER, task_queue=QUEUE, allow=[CALLER, MALLORY])
        caller, owner, mallory = [await honest.namespace(name) for name in (CALLER, OWNER, MALLORY)]
        liar = await stack.enter_async_context(lying_gateway(honest.address))
        client = await Client.connect(
            liar.address, keyring=caller.keyring, trust=caller.trust, credentials=caller.credentials
        )
        made = Deceived(
            honest=honest,
            liar=liar,
            caller=caller,
            owner=owner,
            mallory=mallory,
            client=await stack.enter_async_context(client),
            handler=PaymentsHandler(),
            stack=stack,
        )
        if serving:
            await made.serve(owner, made.handler)
        yield made
        made.handler.release.set()
