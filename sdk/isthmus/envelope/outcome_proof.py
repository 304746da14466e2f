"""Verifies how an operation ended without its result: the outcome as it was sealed, without its body.

The handler's signature covers the header and the digest of the body. So who shows both proves the direction
(result, failure, canceled) and the request that is answered, and what the body says stays where it is.
"""

from isthmus.envelope import checks
from isthmus.envelope.expected import Expected, VerifiedKeys
from isthmus.envelope.open import check_header, check_signature
from isthmus.envelope.request_proof import parse_signed_header
from isthmus.wire.envelope import header_hash, signed_bytes
from isthmus.wire.header import Header


def verify_outcome_proof(
    header_bytes: bytes,
    signature: bytes,
    body_digest: bytes,
    *,
    expected: Expected,
    sender_keys: VerifiedKeys,
    namespace: str,
    now_ms: int,
) -> Header:
    """Return the header of an outcome for ``namespace``, whose sender certainly signed it.

    Raises:
        EnvelopeRejectedError: it is not what local state expects, or not authentic.
        KeyUnavailableError: the sender's key is unknown here; refresh its keyset, then try again.
        ValueError: ``expected`` names no request that it answers.
    """
    if expected.request_digest is None:
        raise ValueError("an outcome answers a request that is known")
    header = parse_signed_header(header_bytes, body_digest)
    check_header(header, expected)
    signed = signed_bytes(header_hash(header_bytes), body_digest)
    check_signature(header, signature, signed, expected=expected, keys=sender_keys, now_ms=now_ms)
    checks.listed(header, namespace)
    return header
