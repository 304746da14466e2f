"""How an example is set up and taken down: endpoints and pins of its own, a cheat in between, and alarms."""

import itertools
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
from tests.adversarial.cheating.cheat import Cheat
from tests.adversarial.cheating.forgery import Forger, PublicKeys
from tests.adversarial.cheating.lies import Lies
from tests.adversarial.cheating.play import CALLERS, OWNERS, QUEUE, Play
from tests.adversarial.cheating.stage import Stage
from tests.adversarial.cheating.truth import Truth, watching
from tests.adversarial.relay import serving

from isthmus.envelope.key_material import SigningPrivateKey


class _Alarms(logging.Handler):
    """What the SDK logs only when it is broken."""

    def __init__(self, violated: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._violated = violated

    def emit(self, record: logging.LogRecord) -> None:
        """Note an error that nobody foresaw."""
        if record.exc_info is not None and record.exc_info[0] is not None:
            self._violated(f"{record.getMessage()}: {record.exc_info[1]!r}")


@asynccontextmanager
async def playing(stage: Stage) -> AsyncGenerator[Play]:
    """Set an example up, and take it down."""
    example = next(stage.numbers)
    async with AsyncExitStack() as stack:
        teams = await stage.teams(sorted({*CALLERS, *OWNERS}), example)
        owners = {f"of-{name}-{example}": teams[name].namespace for name in OWNERS}
        by_namespace = {team.namespace: team for team in teams.values()}
        for endpoint, owner in owners.items():
            queue = f"{QUEUE}-{example}"
            await stage.endpoint(by_namespace[owner], endpoint, queue=queue, callers=list(teams.values()))
        for team in teams.values():
            trust = team.trust()
            for other in teams.values():
                served = tuple(name for name, owner in owners.items() if owner == other.namespace)
                trust.add(other.namespace, other.keyring.contents.fingerprint, endpoints=served)
        truth = Truth(
            owners=owners,
            key_ids=lambda namespace: by_namespace[namespace].key_ids(),
            colluding=teams["mallory"].namespace,
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(stage.address))
        cheat = Cheat(honest=channel)

        def public(namespace: str) -> PublicKeys:
            keyring = by_namespace.get(namespace, teams["mallory"]).keyring
            return PublicKeys(signing_key_id=keyring.signing_key().key_id, sealing=keyring.sealing_key())

        signers = (SigningPrivateKey.generate(), teams["mallory"].keyring.signing_key())
        forger = Forger(signers=signers, public=public)
        stack.enter_context(watching(truth))
        alarms = _Alarms(truth.violated)
        for logger in (logging.getLogger("isthmus"), logging.getLogger("asyncio")):
            logger.addHandler(alarms)
            stack.callback(logger.removeHandler, alarms)
        address = await stack.enter_async_context(serving(cheat))
        async with AsyncExitStack() as ends:
            yield Play(
                stage=stage,
                example=example,
                stack=ends,
                truth=truth,
                cheat=cheat,
                lies=Lies(cheat, forger, stage.statement_key),
                teams=teams,
                address=address,
                numbers=itertools.count(1),
            )
