"""Opens a sealed message, or refuses it. The order of the checks is part of the format.

Size, format and suite; every header field against local state; time; the sender's key and signature; one's
own wrap; the body, decrypted to its very end before a byte of it is looked at; length and padding; last the
replay guard, so that a forgery can never use up the place of the message that it imitates.
"""

import hashlib
from typing import NamedTuple, Protocol

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from isthmus.envelope import binding, checks, inner
from isthmus.envelope.errors import EnvelopeRejectedError, RejectionReason
from isthmus.envelope.expected import Decrypter, Expected, VerifiedKeys
from isthmus.envelope.seal import MESSAGE_KEY_BYTES
from isthmus.payload.payload import Payload
from isthmus.wire import limits
from isthmus.wire.envelope import SealedEnvelope, header_hash, parse_envelope, signed_bytes
from isthmus.wire.errors import UnknownSuiteError, WireFormatError
from isthmus.wire.header import Header


class ReplayGuard(Protocol):
    """Remembers what was opened before. See ``isthmus.envelope.replay``."""

    def admit(self, header: Header, digest: bytes) -> object:
        """Remember a verified message. Raises EnvelopeRejectedError when it contradicts an earlier one."""
        ...


class Opened(NamedTuple):
    """A message that passed every check."""

    header: Header
    payload: Payload
    digest: bytes
    """Digest of the message: what an answer to it must carry."""
    header_bytes: bytes
    signature: bytes
    body_digest: bytes

    def __repr__(self) -> str:
        """Show what the message is about, not its bytes."""
        return f"Opened(header={self.header}, payload={self.payload}, digest={self.digest.hex()})"


def open_envelope(
    data: bytes,
    *,
    expected: Expected,
    sender_keys: VerifiedKeys,
    decrypter: Decrypter,
    namespace: str,
    now_ms: int,
    guard: ReplayGuard | None = None,
) -> Opened:
    """Open a serialized Envelope as ``namespace``, whose private keys the decrypter holds.

    Raises:
        EnvelopeRejectedError: it is not what local state expects, or not authentic. KeyUnavailableError: a
        key id is unknown here; refresh the sender's keyset or the keyring, then try again.

    """
    if len(data) > limits.MAX_ENVELOPE_BYTES:
        raise EnvelopeRejectedError(RejectionReason.TOO_LARGE)
    header, header_bytes, wraps, body, signature = _parse(data)
    check_header(header, expected)
    checks.not_expired(header, now_ms)
    checks.not_from_the_future(header, now_ms)
    if header.start_at_ms:
        checks.not_too_early(header, now_ms)
    hashed_header = header_hash(header_bytes)
    body_digest = hashlib.sha256(body).digest()
    signed = signed_bytes(hashed_header, body_digest)
    check_signature(header, signature, signed, expected=expected, keys=sender_keys, now_ms=now_ms)
    checks.listed(header, namespace)
    wrap = checks.wrap_of(wraps, namespace)
    key = checks.recipient_key(wrap, decrypter)
    message_key = key.unwrap(wrap.ciphertext, binding.wrap_info(hashed_header, namespace, key.key_id))
    if message_key is None or len(message_key) != MESSAGE_KEY_BYTES:
        raise EnvelopeRejectedError(RejectionReason.WRAP)
    payload = inner.decode_inner(_decrypt(body, message_key, binding.body_context(hashed_header)))
    digest = hashlib.sha256(signed).digest()
    if guard is not None:
        guard.admit(header, digest)
    return Opened(header, payload, digest, header_bytes, signature, body_digest)


def check_header(header: Header, expected: Expected) -> None:
    """Compare every header field with local state.

    Raises EnvelopeRejectedError, and ValueError when too little is known locally (``Expected.check``).
    """
    expected.check()
    if checks.agree(header, expected):
        return
    checks.suite(header)
    checks.direction(header, expected)
    checks.trust_domain(header, expected)
    checks.sender(header, expected)
    checks.recipient(header, expected)
    checks.recipients(header, expected)
    checks.endpoint(header, expected)
    checks.service(header, expected)
    checks.operation(header, expected)
    checks.operation_id(header, expected)
    checks.request_digest(header, expected)
    checks.principal(header, expected)
    checks.contract(header, expected)
    checks.labels(header, expected)


def check_signature(
    header: Header,
    signature: bytes,
    signed: bytes,
    *,
    expected: Expected,
    keys: VerifiedKeys,
    now_ms: int,
) -> None:
    """Verify the sender's signature. Raises EnvelopeRejectedError or KeyUnavailableError."""
    checks.keyset(keys, expected, now_ms)
    checks.signature(checks.sender_key(header, keys), signature, signed)


def _parse(data: bytes) -> SealedEnvelope:
    try:
        return parse_envelope(data)
    except UnknownSuiteError:
        raise EnvelopeRejectedError(RejectionReason.SUITE) from None
    except WireFormatError:
        raise EnvelopeRejectedError(RejectionReason.MALFORMED) from None


def _decrypt(body: bytes, message_key: bytes, context: bytes) -> bytes:
    """Decrypt to the end: ``update`` alone would release authentic prefixes of a truncated body."""
    decryptor = Cobblestone256Decryptor(message_key, context)
    try:
        prefix = decryptor.update(body)
        return prefix + _finish(decryptor)
    except (InvalidTag, ValueError):
        raise EnvelopeRejectedError(RejectionReason.BODY) from None


def _finish(decryptor: Cobblestone256Decryptor) -> bytes:
    return decryptor.finalize()
