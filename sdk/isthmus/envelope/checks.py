"""The checks that an opener runs, each by name; ``open`` says in which order.

Every check raises EnvelopeRejectedError, or returns what it verified. The tests switch each of them off in
turn and show that an attack then succeeds: a check that nothing depends on would be found.
"""

from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError, MissingKey, RejectionReason
from isthmus.envelope.expected import Decrypter, Expected, SigningKeyState, VerifiedKeys
from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPublicKey
from isthmus.wire import limits
from isthmus.wire.envelope import SealedWrap
from isthmus.wire.header import FROM_CALLER, SUITE, Header

_MAY_SIGN = (SigningKeyState.ACTIVE, SigningKeyState.VERIFY_ONLY)


def agree(header: Header, expected: Expected) -> bool:
    """Tell whether all checks of a header, from ``suite`` to ``labels``, would pass.

    For the message that is as expected this is several times faster than to run them. When it says no, they
    decide: each says by itself what is wrong, or nothing is.
    """
    (
        directions, trust_domain_, sender_, recipient_, endpoint_, service_, operation_, operation_id_,
        request_digest_, principal_, contract_, recipients_, labels_,
    ) = expected  # fmt: skip
    return (
        header.suite == SUITE
        and header.direction in directions
        and header.trust_domain == trust_domain_
        and header.sender_namespace == sender_
        and header.recipient_namespace == recipient_
        and (
            {sender_, recipient_}.issuperset(header.recipients)
            if recipients_ is None
            else recipients_ == header.recipients
        )
        and (endpoint_ is None or endpoint_ == header.endpoint)
        and (service_ is None or service_ == header.service)
        and (operation_ is None or operation_ == header.operation)
        and (operation_id_ is None or operation_id_ == header.operation_id)
        and (request_digest_ is None or request_digest_ == header.request_digest)
        and (principal_ is None or principal_ == header.principal)
        and (contract_ is None or contract_ == header.contract_hash)
        and (labels_ is None or labels_ == header.labels)
    )


def suite(header: Header) -> None:
    """The one suite: there is nothing to negotiate."""
    if header.suite != SUITE:
        raise EnvelopeRejectedError(RejectionReason.SUITE)


def direction(header: Header, expected: Expected) -> None:
    """A request is no result."""
    if header.direction not in expected.directions:
        raise EnvelopeRejectedError(RejectionReason.DIRECTION)


def trust_domain(header: Header, expected: Expected) -> None:
    """Of this deployment."""
    if header.trust_domain != expected.trust_domain:
        raise EnvelopeRejectedError(RejectionReason.TRUST_DOMAIN)


def sender(header: Header, expected: Expected) -> None:
    """From whom it must come."""
    if header.sender_namespace != expected.sender_namespace:
        raise EnvelopeRejectedError(RejectionReason.SENDER)


def recipient(header: Header, expected: Expected) -> None:
    """For whom it must be."""
    if header.recipient_namespace != expected.recipient_namespace:
        raise EnvelopeRejectedError(RejectionReason.RECIPIENT)


def recipients(header: Header, expected: Expected) -> None:
    """Nobody reads along without local consent."""
    if expected.recipients is not None:
        allowed = header.recipients == expected.recipients
    else:
        both = {expected.sender_namespace, expected.recipient_namespace}
        allowed = both.issuperset(header.recipients)
    if not allowed:
        raise EnvelopeRejectedError(RejectionReason.RECIPIENTS)


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
    if header.direction in FROM_CALLER and now_ms >= header.expires_at_ms:
        raise EnvelopeRejectedError(RejectionReason.EXPIRED)


def not_from_the_future(header: Header, now_ms: int) -> None:
    """A message that asks for action was sealed before now, give or take the skew of clocks."""
    if header.direction in FROM_CALLER and header.issued_at_ms > now_ms + limits.CLOCK_SKEW_MS:
        raise EnvelopeRejectedError(RejectionReason.ISSUED_IN_FUTURE)


def not_too_early(header: Header, now_ms: int) -> None:
    """A request that was put off is not handed out before its time, give or take the skew of clocks."""
    if header.start_at_ms > now_ms + limits.CLOCK_SKEW_MS:
        raise EnvelopeRejectedError(RejectionReason.TOO_EARLY)


def keyset(keys: VerifiedKeys, expected: Expected, now_ms: int) -> None:
    """The keys are those of the expected sender, from a keyset that may still be used."""
    if keys.namespace != expected.sender_namespace or keys.trust_domain != expected.trust_domain:
        raise EnvelopeRejectedError(RejectionReason.SENDER_KEY)
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
    if key.key_id != header.sender_key_id:
        raise EnvelopeRejectedError(RejectionReason.SENDER_KEY)


def sender_key_state(state: SigningKeyState) -> None:
    """Neither retired nor revoked."""
    # No set: an enumeration hashes its members in Python.
    if state not in _MAY_SIGN:
        raise EnvelopeRejectedError(RejectionReason.SENDER_KEY_STATE)


def signature(key: SigningPublicKey, signature_: bytes, signed: bytes) -> None:
    """Signed by the sender, over header and body."""
    if not key.verify(signature_, signed):
        raise EnvelopeRejectedError(RejectionReason.SIGNATURE)


def listed(header: Header, namespace: str) -> None:
    """The signed header names this namespace as a recipient."""
    if namespace not in header.recipients:
        raise EnvelopeRejectedError(RejectionReason.NOT_LISTED)


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
    if key.key_id != wrap.key_id:
        raise EnvelopeRejectedError(RejectionReason.RECIPIENT_KEY)
    return key
