"""What a namespace signs about an endpoint of its own, and when it is believed. No I/O, no clock.

**Record.** Of the expected trust domain, of the namespace that the pin of the endpoint names, of this very
endpoint, in its canonical form. Signed by the signer of that namespace's delegation (``isthmus.wire.chain``),
once. It lives at most 90 days, and ends at the latest when the delegation does: whoever believes it has just
verified that chain. It names a task queue, up to 14 required recipients (sorted, unique, never the owner) and
the hash of a contract, or none.

**Time.** It was not issued in the future (clocks may differ by a minute), and has not expired.

**Progress.** Versions grow. Of each namespace and endpoint the newest version that was seen is remembered
with its hash: an older one is refused, another one of the same version is, and so is the next one when it
does not name the hash of the one before, or one that leaves out more than 2^20 versions. Once a record was
seen, "there is none" is refused.

**Earlier records** are vouched for by the hash in the record that follows; they are consecutive, of the same
endpoint, and their times do not run backwards. A request has to follow the newest record, or one whose
successor had not been issued for ten minutes when the request was: so long may its caller not have heard of
it. Before the first record there was none: only caller and handler read then, on whichever task queue.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Self

from isthmus.v1 import endpoint_record_pb2 as pb
from isthmus.wire import limits
from isthmus.wire.chain import (
    MAX_LIFE_MS,
    ChainError,
    ChainProblem,
    Mark,
    check_life,
    check_mark,
    check_version,
    require,
    require_signer,
)
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Header, readers_of
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.names import DIGEST_BYTES, check_endpoint, check_namespace, check_task_queue
from isthmus.wire.trust_statement import (
    SignedStatement,
    StatementKind,
    parsed,
    serialized,
    signed_statement_message,
    signed_statement_of,
)

MAX_REQUIRED_RECIPIENTS = limits.MAX_RECIPIENTS - 2
MAX_EARLIER = 16
OVERLAP_MS = 10 * 60 * 1000
"""Two cache lifetimes: for so long requests may still follow the record before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRecord:
    """How an endpoint is served, and who reads along."""

    trust_domain: str
    namespace: str
    endpoint: str
    version: int
    previous_hash: bytes
    issued_at_ms: int
    expires_at_ms: int
    task_queue: str
    required_recipients: tuple[str, ...] = ()
    """Beside caller and handler; sorted."""
    contract_hash: bytes = b""

    @property
    def request_recipients(self) -> tuple[str, ...]:
        """Whom the header of a request names, sorted."""
        return tuple(sorted((self.namespace, *self.required_recipients)))

    def encode(self) -> bytes:
        """Serialize."""
        return serialized(
            pb.EndpointRecord(
                trust_domain=self.trust_domain,
                namespace=self.namespace,
                endpoint=self.endpoint,
                version=self.version,
                previous_hash=self.previous_hash,
                issued_at_ms=self.issued_at_ms,
                expires_at_ms=self.expires_at_ms,
                task_queue=self.task_queue,
                required_recipients=self.required_recipients,
                contract_hash=self.contract_hash,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse. Raises WireFormatError."""
        message = parsed(pb.EndpointRecord(), data)
        return cls(
            trust_domain=message.trust_domain,
            namespace=message.namespace,
            endpoint=message.endpoint,
            version=message.version,
            previous_hash=message.previous_hash,
            issued_at_ms=message.issued_at_ms,
            expires_at_ms=message.expires_at_ms,
            task_queue=message.task_queue,
            required_recipients=tuple(message.required_recipients),
            contract_hash=message.contract_hash,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedEndpointRecord:
    """The newest record as relayed, and serialized ones before it, consecutive, the newest last."""

    record: SignedStatement
    earlier: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRecord:
    """A record that satisfies every rule but those of time and progress."""

    record: EndpointRecord
    mark: Mark
    earlier: tuple[EndpointRecord, ...] = ()
    """Those before it, the newest last."""

    def in_force(self, issued_at_ms: int) -> Iterator[EndpointRecord | None]:
        """Go through what a request may follow that was issued then; None: there was no record."""
        before: EndpointRecord | None = None
        for record in (*self.earlier, self.record):
            is_known = before is not None or record.version == 1
            if is_known and issued_at_ms < record.issued_at_ms + OVERLAP_MS:
                yield before
            before = record
        yield before


def verify_record(
    signed: SignedEndpointRecord,
    *,
    trust_domain: str,
    namespace: str,
    endpoint: str,
    signer: HybridPublicKey | None,
) -> VerifiedRecord:
    """Return what a record says when it satisfies the rules that depend on nothing but itself.

    Args:
        signed: as relayed.
        trust_domain: the expected deployment.
        namespace: whose endpoint it is, by the pin.
        endpoint: the one that is called.
        signer: that of the namespace's delegation, from a chain that was verified; None: nobody signs for it.

    Raises:
        ChainError: it breaks a rule.
    """
    record = _read(signed.record.statement)
    _check_about(record, trust_domain, namespace, endpoint)
    check_record_form(record)
    if signer is None:
        raise ChainError(ChainProblem.NOT_THE_SIGNER, "nobody vouches for a signer")
    require_signer(signed.record, StatementKind.ENDPOINT_RECORD, signer)
    require(len(signed.earlier) <= MAX_EARLIER, ChainProblem.RECORD, f"at most {MAX_EARLIER} come before it")
    return VerifiedRecord(
        record=record,
        mark=Mark(version=record.version, hash=signed.record.hash),
        earlier=_read_earlier(record, signed.earlier),
    )


def check_record_time(record: EndpointRecord, now_ms: int) -> None:
    """Require that a record is current. Raises ChainError."""
    early = record.issued_at_ms > now_ms + limits.CLOCK_SKEW_MS
    require(not early, ChainProblem.FUTURE, "the record was issued in the future")
    require(now_ms < record.expires_at_ms, ChainProblem.EXPIRED, "the record has expired")


def check_record_progress(verified: VerifiedRecord | None, seen: Mark | None) -> None:
    """Require that a record, or that there is none, does not contradict what was seen. Raises ChainError."""
    if seen is None:
        return
    if verified is None:
        raise ChainError(ChainProblem.WITHHELD, "there was a record of this endpoint, and there is none now")
    check_mark(verified.mark, seen)
    if verified.mark.version == seen.version + 1:
        named = verified.record.previous_hash == seen.hash
        require(named, ChainProblem.CHAIN, "the record does not name the one before")


def check_record_form(record: EndpointRecord) -> None:
    """Require what makes a record sensible, whoever signed it. Raises ChainError."""
    problem = ChainProblem.RECORD
    check_version(record.version, record.previous_hash, problem)
    require(record.issued_at_ms > 0, ChainProblem.MALFORMED, "issued_at is missing")
    check_life(record.issued_at_ms, record.expires_at_ms, MAX_LIFE_MS, problem)
    required = record.required_recipients
    few = len(required) <= MAX_REQUIRED_RECIPIENTS
    require(few, problem, f"at most {MAX_REQUIRED_RECIPIENTS} recipients are required")
    require(list(required) == sorted(set(required)), problem, "recipients are not sorted and unique")
    require(record.namespace not in required, problem, "the owner is a recipient anyway")
    require(len(record.contract_hash) in {0, DIGEST_BYTES}, problem, f"a hash is {DIGEST_BYTES} bytes")
    try:
        check_namespace(record.namespace)
        check_endpoint(record.endpoint)
        check_task_queue(record.task_queue)
        for namespace in required:
            check_namespace(namespace)
    except WireFormatError as error:
        raise ChainError(problem, str(error)) from None


@unique
class Difference(Enum):
    """What of a request does not follow a record."""

    RECIPIENTS = "recipients"
    CONTRACT = "contract"
    TASK_QUEUE = "task-queue"


def difference(
    record: EndpointRecord | None, header: Header, *, task_queue: str | None = None
) -> Difference | None:
    """Return what of a request does not follow a record, None when all does.

    Where there is no record, caller and handler are the only recipients. ``task_queue`` is the one that the
    request was handed out on, None when it was not.
    """
    if record is None:
        return difference_to(header, recipients=None)
    found = difference_to(header, recipients=record.request_recipients, contract_hash=record.contract_hash)
    if found is None and task_queue not in {None, record.task_queue}:
        return Difference.TASK_QUEUE
    return found


def difference_to(
    header: Header, *, recipients: tuple[str, ...] | None, contract_hash: bytes = b""
) -> Difference | None:
    """Return what the header of a request does not say as a record wants it.

    ``recipients`` are those that the record demands, None where there is no record.
    """
    if recipients is None:
        return Difference.RECIPIENTS if readers_of(header) else None
    if header.recipients != recipients:
        return Difference.RECIPIENTS
    return None if header.contract_hash == contract_hash else Difference.CONTRACT


def signed_record_of(message: pb.SignedEndpointRecord) -> SignedEndpointRecord:
    """Take a record from its message; nothing is verified yet."""
    return SignedEndpointRecord(record=signed_statement_of(message.record), earlier=tuple(message.earlier))


def signed_record_message(signed: SignedEndpointRecord) -> pb.SignedEndpointRecord:
    """Return the message of a record."""
    return pb.SignedEndpointRecord(record=signed_statement_message(signed.record), earlier=signed.earlier)


def _read(data: bytes) -> EndpointRecord:
    try:
        return EndpointRecord.decode(data)
    except WireFormatError as error:
        raise ChainError(ChainProblem.MALFORMED, str(error)) from None


def _check_about(record: EndpointRecord, trust_domain: str, namespace: str, endpoint: str) -> None:
    foreign = f"not of the trust domain {trust_domain}"
    require(record.trust_domain == trust_domain, ChainProblem.TRUST_DOMAIN, foreign)
    require(record.namespace == namespace, ChainProblem.NAMESPACE, "of another namespace")
    require(record.endpoint == endpoint, ChainProblem.ENDPOINT, "of another endpoint")


def _read_earlier(newest: EndpointRecord, earlier: Sequence[bytes]) -> tuple[EndpointRecord, ...]:
    found: list[EndpointRecord] = []
    after = newest
    for data in reversed(earlier):
        record = _read(data)
        _check_about(record, after.trust_domain, after.namespace, after.endpoint)
        check_record_form(record)
        comes_before = record.version == after.version - 1 and record.issued_at_ms <= after.issued_at_ms
        hashed = SignedStatement(statement=data).hash
        require(
            comes_before and hashed == after.previous_hash, ChainProblem.CHAIN, "an earlier record is none"
        )
        found.append(record)
        after = record
    return tuple(reversed(found))
