"""One call of every kind, with a canary in every place that is sealed, and some in places that are not."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import nexusrpc
import nexusrpc.handler
import pytest
from tests.acceptance.deployment.team import TRUST_DOMAIN, Team
from tests.acceptance.deployment.two_teams import ENDPOINT, TASK_QUEUE
from tests.adversarial.canary import Flock
from tests.adversarial.victim import Victim
from tests.adversarial.wiretap import Wiretap

from isthmus.client import Client
from isthmus.client.errors import AttestedHandlerError, NotFoundError
from isthmus.keys.trust import TrustStore
from isthmus.payload.converter import DefaultPayloadConverter
from isthmus.payload.payload import Payload
from isthmus.worker import Worker, current


@nexusrpc.service
class Vault:
    """What is called."""

    keep: nexusrpc.Operation[str, str]
    fail: nexusrpc.Operation[str, str]
    later: nexusrpc.Operation[str, str]


class _Later(nexusrpc.handler.OperationHandler[str, str]):
    """Goes on elsewhere; keeps what it is canceled with."""

    def __init__(self, handler: "VaultHandler") -> None:
        self._handler = handler

    async def start(
        self,
        ctx: nexusrpc.handler.StartOperationContext,
        input: str,  # noqa: A002
    ) -> nexusrpc.handler.StartOperationResultAsync:
        """Answer with a token."""
        return nexusrpc.handler.StartOperationResultAsync(token=self._handler.secrets.put("operation-token"))

    async def cancel(self, ctx: nexusrpc.handler.CancelOperationContext, token: str) -> None:
        """Take the token back."""
        self._handler.tokens.put_nowait(token)


@nexusrpc.handler.service_handler(service=Vault)
@dataclass(slots=True)
class VaultHandler:
    """Serves Vault."""

    secrets: Flock
    headers: list[str] = field(default_factory=list)
    tokens: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)

    @nexusrpc.handler.sync_operation
    async def keep(self, context: nexusrpc.handler.StartOperationContext, _text: str) -> str:
        """Report a secret, and return one."""
        await current().heartbeat(self.secrets.put("heartbeat-details")).durable()
        await current().progress(self.secrets.put("progress")).durable()
        self.headers.extend(context.headers.values())
        return self.secrets.put("result")

    @nexusrpc.handler.sync_operation
    async def fail(self, _context: nexusrpc.handler.StartOperationContext, _text: str) -> str:
        """Fail with a secret, caused by another one."""
        raise nexusrpc.HandlerError(
            self.secrets.put("error-message"), type=nexusrpc.HandlerErrorType.BAD_REQUEST
        ) from KeyError(self.secrets.put("cause"))

    @nexusrpc.handler.operation_handler
    def later(self) -> nexusrpc.handler.OperationHandler[str, str]:
        """Go on elsewhere."""
        return _Later(self)


class _WithHeader(DefaultPayloadConverter):
    """Adds a header to every payload."""

    def __init__(self, secrets: Flock) -> None:
        self._secrets = secrets

    def to_payload(self, value: object) -> Payload:
        """Convert, and add the header."""
        header = ("x-canary", self._secrets.put("payload-header"))
        return super().to_payload(value)._replace(headers=(header,))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretCalls:
    """A caller and a worker behind wiretaps."""

    victim: Victim
    secrets: Flock
    client: Client
    handler: VaultHandler

    async def make(self, *, label: str, unknown_endpoint: str) -> None:
        """Make the calls; each one checks that its secrets arrived."""
        vault = self.client.create_nexus_client(ENDPOINT, Vault)
        put = self.secrets.put
        kept = await vault.execute_operation(
            Vault.keep, put("input"), id=put("request-id"), labels={"purpose": label}
        )
        assert kept == put("result")
        assert self.handler.headers == [put("payload-header")]
        with pytest.raises(AttestedHandlerError, match=put("error-message")) as failed:
            await vault.execute_operation(Vault.fail, put("input-of-failure"))
        assert put("cause") in str(failed.value.__cause__)
        started = await vault.start_operation(Vault.later, put("input-of-later"))
        # It is asynchronous once another call has come all the way through the same worker.
        assert await vault.execute_operation(Vault.keep, put("input")) == kept
        await started.signal(put("signal-name"), put("signal-value"))
        await started.cancel()
        assert await self.handler.tokens.get() == put("operation-token")
        # Refused by the gateway, which logs and remembers the name of what it does not find.
        waiting = self.client.create_nexus_client(unknown_endpoint, Vault)
        with pytest.raises(NotFoundError):
            await waiting.start_operation(Vault.keep, put("input-of-refused"))


@asynccontextmanager
async def secret_calls(
    victim: Victim, secrets: Flock, *, caller_tap: Wiretap, worker_tap: Wiretap, unknown_endpoint: str
) -> AsyncGenerator[SecretCalls]:
    """Connect a caller and a worker, each through its wiretap."""
    deployment = victim.deployment
    handler = VaultHandler(secrets)
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(
            await _connect(deployment.handler, worker_tap, _WithHeader(secrets))
        )
        worker = Worker(serving, task_queue=TASK_QUEUE, nexus_service_handlers=[handler])
        await stack.enter_async_context(worker)
        deployment.caller.pin(deployment.handler, ENDPOINT, unknown_endpoint)
        client = await stack.enter_async_context(
            await _connect(deployment.caller, caller_tap, _WithHeader(secrets))
        )
        yield SecretCalls(victim=victim, secrets=secrets, client=client, handler=handler)


async def _connect(team: Team, tap: Wiretap, converter: DefaultPayloadConverter) -> Client:
    return await Client.connect(
        tap.address,
        keyring=team.open_keyring(),
        trust=TrustStore(team.trust_file, trust_domain=TRUST_DOMAIN),
        credentials=team.tokens(),
        payload_converter=converter,
    )
