"""Verifies what a namespace signed itself: its requests, when it attaches, waits or takes up a handle again.

The gateway returns header, signature and body digest of the request. A process that did not start the
operation then holds the outcome to the same request digest as the one that did.
"""

import hashlib
import hmac

from isthmus.envelope.errors import EnvelopeRejectedError, RejectionReason
from isthmus.envelope.expected import Expected, VerifiedKeys
from isthmus.envelope.open import check_header, check_signature
from isthmus.wire.envelope import header_hash, signed_bytes
from isthmus.wire.errors import UnknownSuiteError, WireFormatError
from isthmus.wire.header import Header, parse_header
from isthmus.wire.names import DIGEST_BYTES


def verify_request_proof(
    header_bytes: bytes,
    signature: bytes,
    body_digest: bytes,
    *,
    namespace: str,
    own_keys: VerifiedKeys,
    expected: Expected,
    now_ms: int,
    fingerprint: bytes | None = None,
) -> tuple[Header, bytes]:
    """Return the header of a request of one's own and its digest.

    ``expected`` names the direction REQUEST, the namespace itself as sender, and the operation id;
    ``fingerprint`` is given when the input is at hand and its request id asks for the comparison. Expiry
    does not matter here: the request was acted on long ago.

    Raises:
        EnvelopeRejectedError: this namespace did not sign this request; reason FINGERPRINT when it did, but
        with
            another input.
        KeyUnavailableError: signed with a key that is not known here; re-read the keyring.
        ValueError: ``expected`` describes something else than a request of one's own.

    """
    if expected.sender_namespace != namespace or expected.operation_id is None:
        raise ValueError("a request of one's own is expected from oneself, for a known operation")
    header = parse_signed_header(header_bytes, body_digest)
    check_header(header, expected)
    signed = signed_bytes(header_hash(header_bytes), body_digest)
    check_signature(header, signature, signed, expected=expected, keys=own_keys, now_ms=now_ms)
    if fingerprint is not None:
        check_fingerprint(header, fingerprint)
    return header, hashlib.sha256(signed).digest()


def check_fingerprint(header: Header, fingerprint: bytes) -> None:
    """The input is the one that this request id was first used with."""
    if not hmac.compare_digest(header.fingerprint, fingerprint):
        raise EnvelopeRejectedError(RejectionReason.FINGERPRINT)


def parse_signed_header(header_bytes: bytes, body_digest: bytes) -> Header:
    """Parse the header of a message whose body is elsewhere. Raises EnvelopeRejectedError."""
    if len(body_digest) != DIGEST_BYTES:
        raise EnvelopeRejectedError(RejectionReason.MALFORMED)
    try:
        return parse_header(header_bytes)
    except UnknownSuiteError:
        raise EnvelopeRejectedError(RejectionReason.SUITE) from None
    except WireFormatError:
        raise EnvelopeRejectedError(RejectionReason.MALFORMED) from None
