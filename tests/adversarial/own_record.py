"""What the namespace of a worker signed about its endpoint, for the rules that hold requests to it."""

from tests.unit.envelope.world import HOUR_MS, NOW_MS, TRUST_DOMAIN

from isthmus.keys.endpoint_records import KnownRecord
from isthmus.keys.errors import RecipientError
from isthmus.wire.chain import DAY_MS, Mark
from isthmus.wire.endpoint_record import EndpointRecord, VerifiedRecord
from isthmus.wire.trust_statement import SignedStatement


class OwnRecord:
    """What a namespace signed about its endpoint, at hand and the newest."""

    def __init__(self, namespace: str, *, contract_hash: bytes) -> None:
        record = EndpointRecord(
            trust_domain=TRUST_DOMAIN,
            namespace=namespace,
            endpoint="payments",
            version=1,
            previous_hash=b"",
            issued_at_ms=NOW_MS - DAY_MS,
            expires_at_ms=NOW_MS + DAY_MS,
            task_queue="payments",
            contract_hash=contract_hash,
        )
        mark = Mark(version=1, hash=SignedStatement(statement=record.encode()).hash)
        self._known = KnownRecord(
            namespace, VerifiedRecord(record=record, mark=mark), NOW_MS, NOW_MS + HOUR_MS
        )

    @property
    def cache(self) -> "OwnRecord":
        """This one."""
        return self

    def at_hand(self, namespace: str, endpoint: str) -> KnownRecord | None:
        """Return it."""
        assert (namespace, endpoint) == (self._known.namespace, "payments")
        return self._known

    def may_ask(self, namespace: str, endpoint: str) -> bool:
        """There may always be a newer one."""
        del namespace, endpoint
        return True

    async def record(self, namespace: str, endpoint: str, *, newest: bool = False) -> KnownRecord:
        """Return the same again."""
        del namespace, endpoint, newest
        return self._known


class Nobody:
    """A person who consented to nobody."""

    def require_recipient(self, namespace: str, endpoint: str) -> None:
        """Refuse."""
        raise RecipientError(namespace, endpoint, is_pinned=True)
