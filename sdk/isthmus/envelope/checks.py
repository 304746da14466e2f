"""The checks that an opener runs, each by name; ``open`` says in which order.

Every function here raises EnvelopeRejectedError, or returns what it verified. The tests switch each of them
off in turn and show that an attack then succeeds: a check that nothing depends on would be found.
"""

from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError, MissingKey, RejectionReason
from isthmus.envelope.expected import Decrypter, Expected, SigningKeyState, VerifiedKeys
from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPublicKey
from isthmus.wire import limits
from isthmus.wire.envelope import SealedWrap
from isthmus.wire.header import SUITE, Direction, Header

_EXPIRING = frozenset({Direction.REQUEST, Direction.CANCEL, Direction.SIGNAL})


def suite(header: Header) -> None:
    """The one suite: there is nothing to negotiate."""
    _require(header.suite == SUITE, RejectionReason.SUITE)


def direction(header: Header, expected: Expected) -> None:
    """A request is no result."""
    _require(header.direction in expected.directions, RejectionReason.DIRECTION)


def trust_domain(header: Header, expected: Expected) -> None:
    """Of this deployment."""
    _require(header.trust_domain == expected.trust_domain, RejectionReason.TRUST_DOMAIN)


def sender(header: Header, expected: Expected) -> None:
    """From whom it must come."""
    _require(header.sender_namespace == expected.sender_namespace, RejectionReason.SENDER)


def recipient(header: Header, expected: Expected) -> None:
    """For whom it must be."""
    _require(header.recipient_namespace == expected.recipient_namespace, RejectionReason.RECIPIENT)


def recipients(header: Header, expected: Expected) -> None:
    """Nobody reads along without local consent."""
    if expected.recipients is not None:
        _require(header.recipients == expected.recipients, RejectionReason.RECIPIENTS)
        return
    for namespace in header.recipients:
        known = namespace in {expected.recipient_namespace, expected.sender_namespace}
        _require(known, RejectionReason.RECIPIENTS)


def endpoint(header: Header, expected: Expected) -> None:
    """The endpoint that was called."""
    if expected.endpoint not in (None, header.endpoint):
        raise EnvelopeRejectedError(RejectionReason.ENDPOINT)


def service(header: Header, expected: Expected) -> None:
    """The service that was called."""
    if expected.service not in (None, header.service):
        raise EnvelopeRejectedError(RejectionReason.SERVICE)


def operation(header: Header, expected: Expected) -> None:
    """The operation that was called."""
    if expected.operation not in (None, header.operation):
        raise EnvelopeRejectedError(RejectionReason.OPERATION)


def operation_id(header: Header, expected: Expected) -> None:
    """The very operation, and the very generation, that this is about."""
    if expected.operation_id not in (None, header.operation_id):
        raise EnvelopeRejectedError(RejectionReason.OPERATION_ID)


def request_digest(header: Header, expected: Expected) -> None:
    """The very request that this answers."""
    if expected.request_digest not in (None, header.request_digest):
        raise EnvelopeRejectedError(RejectionReason.REQUEST_DIGEST)


def principal(header: Header, expected: Expected) -> None:
    """Who sent it, where that is known."""
    if expected.principal not in (None, header.principal):
        raise EnvelopeRejectedError(RejectionReason.PRINCIPAL)


def contract(header: Header, expected: Expected) -> None:
    """The contract that both sides speak, where it is pinned."""
    if expected.contract_hash not in (None, header.contract_hash):
        raise EnvelopeRejectedError(RejectionReason.CONTRACT)


def labels(header: Header, expected: Expected) -> None:
    """The labels that a decision was based on."""
    if expected.labels not in (None, header.labels):
        raise EnvelopeRejectedError(RejectionReason.LABELS)


def not_expired(header: Header, now_ms: int) -> None:
    """Requests, cancels and signals have their time; outcomes are read days later."""
    if header.direction in _EXPIRING:
        _require(now_ms < header.expires_at_ms, RejectionReason.EXPIRED)


def not_from_the_future(header: Header, now_ms: int) -> None:
    """A message that asks for action was sealed before now, give or take the skew of clocks."""
    if header.direction in _EXPIRING:
        _require(header.issued_at_ms <= now_ms + limits.CLOCK_SKEW_MS, RejectionReason.ISSUED_IN_FUTURE)


def keyset(keys: VerifiedKeys, expected: Expected, now_ms: int) -> None:
    """The keys are those of the expected sender, from a keyset that may still be used."""
    mine = keys.namespace == expected.sender_namespace and keys.trust_domain == expected.trust_domain
    _require(mine, RejectionReason.SENDER_KEY)
    if not keys.is_current(now_ms):
        raise KeyUnavailableError(key_id=b"", namespace=keys.namespace, which=MissingKey.KEYSET)


def sender_key(header: Header, keys: VerifiedKeys) -> SigningPublicKey:
    """Return the key that must have signed. A key that is only pre-published here asks for a newer keyset."""
    known = keys.find_signing_key(header.sender_key_id)
    if known is None or known.state is SigningKeyState.PRE_PUBLISHED:
        raise KeyUnavailableError(
            key_id=header.sender_key_id, namespace=keys.namespace, which=MissingKey.SENDER_SIGNING
        )
    sender_key_id(header, known.key)
    sender_key_state(known.state)
    return known.key


def sender_key_id(header: Header, key: SigningPublicKey) -> None:
    """The id follows from the full key: a lookup by a truncated id proves nothing."""
    _require(key.key_id == header.sender_key_id, RejectionReason.SENDER_KEY)


def sender_key_state(state: SigningKeyState) -> None:
    """Neither retired nor revoked."""
    _require(state in {SigningKeyState.ACTIVE, SigningKeyState.VERIFY_ONLY}, RejectionReason.SENDER_KEY_STATE)


def signature(key: SigningPublicKey, signature_: bytes, signed: bytes) -> None:
    """Signed by the sender, over header and body."""
    _require(key.verify(signature_, signed), RejectionReason.SIGNATURE)


def listed(header: Header, namespace: str) -> None:
    """The signed header names this namespace as a recipient."""
    _require(namespace in header.recipients, RejectionReason.NOT_LISTED)


def wrap_of(wraps: tuple[SealedWrap, ...], namespace: str) -> SealedWrap:
    """Return the wrap for this namespace."""
    for wrap in wraps:
        if wrap.namespace == namespace:
            return wrap
    raise EnvelopeRejectedError(RejectionReason.WRAP)


def recipient_key(wrap: SealedWrap, decrypter: Decrypter) -> EncryptionPrivateKey:
    """Return the private key that the wrap was made for."""
    key = decrypter.decryption_key(wrap.key_id)
    if key is None:
        raise KeyUnavailableError(
            key_id=wrap.key_id, namespace=wrap.namespace, which=MissingKey.RECIPIENT_ENCRYPTION
        )
    _require(key.key_id == wrap.key_id, RejectionReason.RECIPIENT_KEY)
    return key


def _require(condition: bool, reason: RejectionReason) -> None:  # noqa: FBT001 - it reads like an assertion
    if not condition:
        raise EnvelopeRejectedError(reason)
