"""The next record of an endpoint, whatever the gateway shows as the newest one."""

import pytest
from tests.unit.keys.world import DAY_MS, NOW_MS, TRUST_DOMAIN, sign, team

from isthmus.keys.errors import EndpointRecordRejectedError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.record_publication import RecordPublication, RecordWishes, sign_record
from isthmus.keys.statements import next_keyset
from isthmus.wire.chain import MAX_VERSION, MAX_VERSION_STEP, ChainProblem, Mark
from isthmus.wire.endpoint_record import EndpointRecord, SignedEndpointRecord
from isthmus.wire.trust_statement import SignedKeyset, SignedStatement

ALL = RecordWishes(task_queue="payments", required_recipients=(), contract_hash=b"")
KEYSET = sign(next_keyset(team().contents, now_ms=NOW_MS))


class LyingGateway:
    """Shows a record of some version that somebody signed who has no say."""

    def __init__(self, version: int) -> None:
        record = EndpointRecord(
            trust_domain=TRUST_DOMAIN,
            namespace="app-team",
            endpoint="payments",
            version=version,
            previous_hash=bytes(32),
            issued_at_ms=NOW_MS,
            expires_at_ms=NOW_MS + DAY_MS,
            task_queue="elsewhere",
        )
        self._signed = SignedEndpointRecord(record=sign_record(record, HybridPrivateKey.generate()))
        self.published: list[SignedStatement] = []

    def record(self, endpoint: str) -> SignedEndpointRecord:
        """Return it."""
        assert endpoint == "payments"
        return self._signed

    def keyset(self, namespace: str) -> SignedKeyset:
        """Return the true one."""
        assert namespace == "app-team"
        return KEYSET

    def publish(self, signed: SignedStatement) -> None:
        """Take what comes."""
        self.published.append(signed)


@pytest.mark.parametrize("seen", [None, Mark(version=3, hash=bytes(32))])
def test_no_record_is_signed_when_what_the_gateway_shows_uses_the_versions_up(seen: Mark | None) -> None:
    """It needs no key for that: a record of another signer says which number comes next."""
    most = MAX_VERSION // 2 if seen is None else seen.version + MAX_VERSION_STEP
    for version, is_refused in ((most, False), (most + 1, True), (MAX_VERSION - 1, True)):
        gateway = LyingGateway(version)
        publication = RecordPublication(
            contents=team().contents,
            signer=team().signer,
            place=gateway,
            seen=lambda _, __: seen,
            now_ms=lambda: NOW_MS,
        )
        if is_refused:
            with pytest.raises(EndpointRecordRejectedError) as refused:
                publication.publish("payments", ALL)
            assert refused.value.problem is ChainProblem.CHAIN
            assert gateway.published == []
        else:
            assert publication.publish("payments", ALL).record.version == most + 1
