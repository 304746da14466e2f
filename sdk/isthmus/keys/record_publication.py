"""Signs records of one's own endpoints, and publishes them: repeatable, whatever a kill left behind.

Nothing is written down here before the gateway has it. A process that was killed before that signs anew, one
that was killed afterwards finds that everything is said already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from isthmus.keys.contents import KeyringContents
from isthmus.keys.errors import EndpointRecordRejectedError, KeysError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.publication import read_own
from isthmus.keys.statements import add_signature
from isthmus.wire.chain import DAY_MS, MAX_VERSION, MAX_VERSION_STEP, ChainError, ChainProblem, Mark
from isthmus.wire.endpoint_record import (
    EndpointRecord,
    SignedEndpointRecord,
    VerifiedRecord,
    check_record_form,
    verify_record,
)
from isthmus.wire.errors import WireFormatError
from isthmus.wire.trust_statement import Delegation, SignedKeyset, SignedStatement, StatementKind

T = TypeVar("T")
RECORD_LIFETIME_MS = 90 * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordWishes:
    """What a record is to say; None leaves what the newest one says."""

    task_queue: str | None = None
    required_recipients: tuple[str, ...] | None = None
    contract_hash: bytes | None = None

    @property
    def leaves_something(self) -> bool:
        """Whether something of the newest record would be taken over."""
        return None in {self.task_queue, self.required_recipients, self.contract_hash}


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRecord:
    """The record that would be published, and the newest one that is."""

    record: EndpointRecord
    before: EndpointRecord | None
    is_new: bool
    """False when the newest one says the same and has half of its life left."""


class RecordPlace(Protocol):
    """Where records are published: the gateway."""

    def record(self, endpoint: str) -> SignedEndpointRecord | None:
        """Return the newest record of an endpoint, None when there is none."""
        ...

    def keyset(self, namespace: str) -> SignedKeyset | None:
        """Return the newest keyset of a namespace."""
        ...

    def publish(self, signed: SignedStatement) -> None:
        """Publish a record; durable once this returns."""
        ...


class RecordPublication:
    """The records of one namespace's endpoints: what the gateway has, and what should be next."""

    def __init__(
        self,
        *,
        contents: KeyringContents,
        signer: HybridPrivateKey,
        place: RecordPlace,
        seen: Callable[[str, str], Mark | None],
        now_ms: Callable[[], int],
    ) -> None:
        self._contents = contents
        self._signer = signer
        self._place = place
        self._seen = seen
        self._now_ms = now_ms

    def next(self, endpoint: str, wishes: RecordWishes) -> NextRecord:
        """Return the record that follows the newest one.

        Raises:
            KeysError: the gateway's chain is refused, its delegation is not to this signer, or something is
                not said that no record says yet which can be taken over.
            ChainError: what is wished for makes no record.
        """
        now_ms = self._now_ms()
        delegation = self._delegation()
        before, by_this_signer = self._before(endpoint, self._place.record(endpoint), wishes)
        seen = self._seen(self._contents.namespace, endpoint)
        mark = _newer(None if before is None else before.mark, seen)
        said = None if before is None else before.record
        # Never the queue that the gateway names: it is signed so that the gateway has no say.
        task_queue = wishes.task_queue or ("" if said is None else said.task_queue)
        if not task_queue:
            raise KeysError(
                f"on which task queue is {endpoint} served? The first record says it: --task-queue"
            )
        recipients = _wished(wishes.required_recipients, () if said is None else said.required_recipients)
        record = EndpointRecord(
            trust_domain=self._contents.trust_domain,
            namespace=self._contents.namespace,
            endpoint=endpoint,
            version=1 if mark is None else mark.version + 1,
            previous_hash=b"" if mark is None else mark.hash,
            issued_at_ms=now_ms,
            expires_at_ms=min(now_ms + RECORD_LIFETIME_MS, delegation.expires_at_ms),
            task_queue=task_queue,
            required_recipients=tuple(sorted(set(recipients))),
            contract_hash=_wished(wishes.contract_hash, b"" if said is None else said.contract_hash),
        )
        check_record_form(record)
        is_newest = before is not None and before.mark == mark and by_this_signer
        is_said = is_newest and said is not None and _says(said) == _says(record) and _is_fresh(said, record)
        return NextRecord(record=record, before=said, is_new=not is_said)

    def publish(self, endpoint: str, wishes: RecordWishes) -> NextRecord:
        """Publish the next record, unless the newest one says it. Raises as ``next``, and GatewayError."""
        following = self.next(endpoint, wishes)
        if following.is_new:
            self._place.publish(sign_record(following.record, self._signer))
        return following

    def _delegation(self) -> Delegation:
        namespace = self._contents.namespace
        signed = self._place.keyset(namespace)
        if signed is None:
            raise KeysError(f"{namespace} has published no keyset yet: isthmus keys publish")
        delegation = read_own(signed, self._contents).chain.delegation
        if delegation.signer != self._signer.public:
            raise KeysError(
                f"the published keyset of {namespace} is under another signer: isthmus keys publish"
            )
        return delegation

    def _before(
        self, endpoint: str, signed: SignedEndpointRecord | None, wishes: RecordWishes
    ) -> tuple[VerifiedRecord | None, bool]:
        """Return the newest record, and whether this signer signed it.

        One of another signer counts when it was believed here before; otherwise it only says what number
        comes next, and everything that a record says has to be said anew.
        """
        if signed is None:
            return None, False
        contents = self._contents
        about = {"trust_domain": contents.trust_domain, "namespace": contents.namespace, "endpoint": endpoint}
        try:
            return verify_record(signed, **about, signer=self._signer.public), True
        except ChainError as error:
            try:
                record = EndpointRecord.decode(signed.record.statement)
            except WireFormatError:
                raise KeysError(
                    f"the gateway shows something as the record of {endpoint} that is none"
                ) from None
            if error.problem is not ChainProblem.NOT_THE_SIGNER or record.namespace != contents.namespace:
                raise EndpointRecordRejectedError(error.problem, contents.namespace, endpoint) from None
        mark = Mark(version=record.version, hash=signed.record.hash)
        seen = self._seen(contents.namespace, endpoint)
        most = MAX_VERSION // 2 if seen is None else seen.version + MAX_VERSION_STEP
        if mark.version > most:
            # Nobody need have signed it: what the gateway makes up must not use the versions up.
            raise EndpointRecordRejectedError(ChainProblem.CHAIN, contents.namespace, endpoint)
        if mark != seen and wishes.leaves_something:
            raise KeysError(
                f"another key signed the newest record of {endpoint}: say everything that the next one says"
                " (--task-queue, --required-recipient or --no-required-recipients, --contract-hash)"
            )
        return VerifiedRecord(record=record, mark=mark), False


def sign_record(record: EndpointRecord, signer: HybridPrivateKey) -> SignedStatement:
    """Sign a record."""
    statement = SignedStatement(statement=record.encode())
    return add_signature(StatementKind.ENDPOINT_RECORD, statement, signer)


def _wished(wish: T | None, otherwise: T) -> T:
    return otherwise if wish is None else wish


def _newer(mark: Mark | None, seen: Mark | None) -> Mark | None:
    """Return the newer of two marks: a gateway that was set back goes on where the namespace is."""
    if mark is None or seen is None:
        return mark or seen
    return seen if seen.version > mark.version else mark


def _says(record: EndpointRecord) -> tuple[str, tuple[str, ...], bytes]:
    return record.task_queue, record.required_recipients, record.contract_hash


def _is_fresh(said: EndpointRecord, record: EndpointRecord) -> bool:
    """Whether half of the life is left that a new one would have."""
    left_ms = said.expires_at_ms - record.issued_at_ms
    return left_ms > (record.expires_at_ms - record.issued_at_ms) // 2
