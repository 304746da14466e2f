"""What is known of an endpoint when the gateway does not answer."""

import pytest
from tests.unit.keys.world import DAY_MS, NOW_MS, TRUST_DOMAIN, team

from isthmus.keys.endpoint_records import AsyncRecordDirectory, RecordCache, RecordDirectory, signer_in
from isthmus.keys.errors import DirectoryUnreachableError, EndpointRecordRejectedError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.record_publication import sign_record
from isthmus.keys.trust import TrustStore
from isthmus.wire.chain import ChainProblem
from isthmus.wire.endpoint_record import EndpointRecord, SignedEndpointRecord
from isthmus.wire.hybrid import HybridPublicKey

OLD, NEW = HybridPrivateKey.generate(), HybridPrivateKey.generate()
RECORD = EndpointRecord(
    trust_domain=TRUST_DOMAIN,
    namespace="app-team",
    endpoint="payments",
    version=1,
    previous_hash=b"",
    issued_at_ms=NOW_MS,
    expires_at_ms=NOW_MS + 80 * DAY_MS,
    task_queue="payments",
)


class World:
    """A gateway that answers or does not, and the signer that the chain at hand names."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.reachable = True
        self.signer: HybridPublicKey | None = OLD.public
        self.cache = RecordCache(TrustStore(None, trust_domain=TRUST_DOMAIN), clock_ms=lambda: self.now_ms)

    def fetch(self, namespace: str, endpoint: str) -> SignedEndpointRecord:
        """Return the record, or be unreachable."""
        assert (namespace, endpoint) == ("app-team", "payments")
        if not self.reachable:
            raise DirectoryUnreachableError("cut off")
        return SignedEndpointRecord(record=sign_record(RECORD, OLD))

    async def fetch_async(self, namespace: str, endpoint: str) -> SignedEndpointRecord:
        """Return the record, or be unreachable."""
        return self.fetch(namespace, endpoint)

    def find_signer(self, namespace: str, /, *, newest: bool) -> HybridPublicKey | None:
        """Return the signer, unless nobody knows."""
        del namespace, newest
        if self.signer is None:
            raise DirectoryUnreachableError("cut off")
        return self.signer

    async def find_signer_async(self, namespace: str, /, *, newest: bool) -> HybridPublicKey | None:
        """Return the signer, unless nobody knows."""
        return self.find_signer(namespace, newest=newest)


def test_record_at_hand_is_refused_when_its_signer_was_replaced_and_the_gateway_does_not_answer() -> None:
    """A gateway cannot keep what a stolen signer said by being silent about it."""
    world = World()
    directory = RecordDirectory(world.cache, world.fetch, world.find_signer)
    directory.record("app-team", "payments")
    world.reachable = False
    for signer in (OLD.public, None):
        world.signer = signer
        world.now_ms += DAY_MS
        assert directory.record("app-team", "payments").record == RECORD
    world.signer = NEW.public
    world.now_ms += DAY_MS
    with pytest.raises(EndpointRecordRejectedError) as caught:
        directory.record("app-team", "payments")
    assert caught.value.problem is ChainProblem.NOT_THE_SIGNER


async def test_the_same_holds_on_an_event_loop() -> None:
    """Workers ask there."""
    world = World()
    directory = AsyncRecordDirectory(world.cache, world.fetch_async, world.find_signer_async)
    await directory.record("app-team", "payments")
    world.reachable = False
    for signer in (OLD.public, None):
        world.signer = signer
        world.now_ms += DAY_MS
        assert (await directory.record("app-team", "payments")).record == RECORD
    world.signer = NEW.public
    world.now_ms += DAY_MS
    with pytest.raises(EndpointRecordRejectedError):
        await directory.record("app-team", "payments")


def test_keyring_says_who_signs_when_the_gateway_does_not_answer() -> None:
    """Until its delegation ends."""
    founded = team()
    assert signer_in(founded.contents, now_ms=NOW_MS) == founded.signer.public
    assert signer_in(founded.contents, now_ms=NOW_MS + 90 * DAY_MS) is None
