"""An envelope taken apart, without opening it: what gateway and ends read and hash alike."""

import hashlib
from functools import lru_cache
from typing import NamedTuple

from isthmus.wire import limits, names
from isthmus.wire.canonical import head, read
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Header, parse_header
from isthmus.wire.pae import pae

SIGNATURE_BYTES = 64
MAX_WRAP_BYTES = 4096
WRAP_BYTES = 1216
"""What a wrap of the one suite is: an encapsulation of 1168 bytes, the message key, a tag of 16 bytes."""
_SIGNATURE_CONTEXT = "ise1/sig"
_KEY_ID_BYTES, _DIGEST_BYTES = names.KEY_ID_BYTES, names.DIGEST_BYTES
_HASH_LENGTH = _DIGEST_BYTES.to_bytes(8, "big")
# What PAE puts before the first hash is always the same, and this is computed for every message.
_BEFORE_HASHES = pae(_SIGNATURE_CONTEXT, bytes(_DIGEST_BYTES), b"")[: -_DIGEST_BYTES - 8]
# The fields of Envelope and of Wrap.
_HEADER, _WRAPS, _BODY, _SIGNATURE = b"\x0a", b"\x12", b"\x1a", b"\x22"
_NAMESPACE, _KEY_ID, _CIPHERTEXT = b"\x0a", b"\x12", b"\x1a"
_BEFORE_KEY_ID = head(_KEY_ID, _KEY_ID_BYTES)
_BEFORE_WRAPPED = head(_CIPHERTEXT, WRAP_BYTES)
_BEFORE_SIGNATURE = head(_SIGNATURE, SIGNATURE_BYTES)


class SealedWrap(NamedTuple):
    """The message key, encapsulated for one recipient."""

    namespace: str
    key_id: bytes
    ciphertext: bytes


class SealedEnvelope(NamedTuple):
    """A parsed envelope. The header is kept as transmitted beside its parsed form."""

    header: Header
    header_bytes: bytes
    wraps: tuple[SealedWrap, ...]
    body: bytes
    signature: bytes

    @property
    def body_digest(self) -> bytes:
        """SHA-256 of the sealed body."""
        return hashlib.sha256(self.body).digest()

    @property
    def digest(self) -> bytes:
        """What names this message for good: stable when a recipient re-wraps."""
        return message_digest(header_hash(self.header_bytes), self.body_digest)


def header_hash(header_bytes: bytes) -> bytes:
    """``hh``: SHA-256 of the header as transmitted."""
    return hashlib.sha256(header_bytes).digest()


def signed_bytes(header_hash_: bytes, body_digest: bytes) -> bytes:
    """Return what the sender signs: PAE("ise1/sig", hh, SHA256(body)). Raises ValueError."""
    if len(header_hash_) != _DIGEST_BYTES or len(body_digest) != _DIGEST_BYTES:
        raise ValueError("a signature covers two hashes of 32 bytes")
    return _BEFORE_HASHES + header_hash_ + _HASH_LENGTH + body_digest


def message_digest(header_hash_: bytes, body_digest: bytes) -> bytes:
    """SHA-256 of the signed bytes: what answers, receipts and audit events refer to."""
    return hashlib.sha256(signed_bytes(header_hash_, body_digest)).digest()


def encode_envelope(envelope: SealedEnvelope) -> bytes:
    """Serialize an envelope for the wire."""
    return encode_parts(envelope.header_bytes, envelope.wraps, envelope.body, envelope.signature)


def parse_envelope(data: bytes) -> SealedEnvelope:
    """Parse an envelope as transmitted. Raises WireFormatError unless it is canonical and valid."""
    if len(data) > limits.MAX_ENVELOPE_BYTES:
        raise WireFormatError(f"the envelope is larger than {limits.MAX_ENVELOPE_BYTES} bytes")
    header_bytes, at = read(data, 0, _HEADER)
    header = parse_header(header_bytes)
    wraps, at = _usual_wrap(data, at, header.recipients) or _read_wraps(data, at, header.recipients)
    body, at = read(data, at, _BODY)
    if data.startswith(_BEFORE_SIGNATURE, at):
        at += len(_BEFORE_SIGNATURE)
        signature = data[at:]
    else:
        signature, at = read(data, at, _SIGNATURE)
        if at != len(data):
            raise WireFormatError("the envelope has more wraps than recipients, or is not in canonical form")
    if not 0 < len(body) <= limits.MAX_BODY_BYTES:
        raise WireFormatError(f"the body is empty or larger than {limits.MAX_BODY_BYTES} bytes")
    if len(signature) != SIGNATURE_BYTES:
        raise WireFormatError(f"the signature is not {SIGNATURE_BYTES} bytes")
    return SealedEnvelope(header, header_bytes, wraps, body, signature)


def _usual_wrap(
    data: bytes, at: int, recipients: tuple[str, ...]
) -> tuple[tuple[SealedWrap, ...], int] | None:
    """Read the one wrap of a message to one recipient; None where ``_read_wraps`` has to.

    All of it but the key id and the ciphertext follows from the recipient.
    """
    if len(recipients) != 1:
        return None
    recipient = recipients[0]
    before = _before_wrap(recipient)
    start = at + len(before)
    wrapped = start + _KEY_ID_BYTES + len(_BEFORE_WRAPPED)
    end = wrapped + WRAP_BYTES
    key_id = data[start : start + _KEY_ID_BYTES]
    if (
        end > len(data)
        or not data.startswith(before, at)
        or not data.startswith(_BEFORE_WRAPPED, start + _KEY_ID_BYTES)
    ):
        return None
    return (SealedWrap(recipient, key_id, data[wrapped:end]),), end


@lru_cache(maxsize=1024)
def _before_wrap(recipient: str) -> bytes:
    """Return what comes before the key id of a wrap for a recipient."""
    wrap = SealedWrap(recipient, bytes(_KEY_ID_BYTES), bytes(WRAP_BYTES))
    return _encode_wrap(wrap)[: -_KEY_ID_BYTES - len(_BEFORE_WRAPPED) - WRAP_BYTES]


def _read_wraps(data: bytes, at: int, recipients: tuple[str, ...]) -> tuple[tuple[SealedWrap, ...], int]:
    """Read any wraps: the definition, which ``_usual_wrap`` is a short cut of."""
    wraps: list[SealedWrap] = []
    for _ in recipients:
        wrap, at = read(data, at, _WRAPS)
        if wrap:
            wraps.append(_read_wrap(wrap))
    _check_wraps(wraps, recipients)
    return tuple(wraps), at


def parse_head(data: bytes) -> tuple[bytes, tuple[SealedWrap, ...]]:
    """Return header and wraps of an envelope of which only the beginning is there. Raises WireFormatError."""
    header_bytes, at = read(data, 0, _HEADER)
    wraps: list[SealedWrap] = []
    while data[at : at + 1] == _WRAPS:
        wrap, at = read(data, at, _WRAPS)
        wraps.append(_read_wrap(wrap))
    return header_bytes, tuple(wraps)


def _check_wraps(wraps: list[SealedWrap], recipients: tuple[str, ...]) -> None:
    if tuple([wrap.namespace for wrap in wraps]) != recipients:
        raise WireFormatError("the wraps are not those of the recipients, in their order")


def _read_wrap(data: bytes) -> SealedWrap:
    namespace, at = read(data, 0, _NAMESPACE)
    key_id, at = read(data, at, _KEY_ID)
    ciphertext, at = read(data, at, _CIPHERTEXT)
    if at != len(data):
        raise WireFormatError("a wrap is not a protobuf message in its canonical serialization")
    if len(key_id) != _KEY_ID_BYTES or not 0 < len(ciphertext) <= MAX_WRAP_BYTES:
        raise WireFormatError("a wrap has a key id or ciphertext of the wrong size")
    try:
        return SealedWrap(namespace.decode(), key_id, ciphertext)
    except UnicodeDecodeError:
        raise WireFormatError("the namespace of a wrap is not text") from None


def encode_parts(header: bytes, wraps: tuple[SealedWrap, ...], body: bytes, signature: bytes) -> bytes:
    """Serialize the parts of an envelope for the wire."""
    pieces = [head(_HEADER, len(header)), header]
    for wrap in wraps:
        namespace, key_id, ciphertext = wrap
        if len(key_id) == _KEY_ID_BYTES and len(ciphertext) == WRAP_BYTES:
            pieces += (_before_wrap(namespace), key_id, _BEFORE_WRAPPED, ciphertext)
        else:
            pieces.append(_encode_wrap(wrap))
    pieces += (head(_BODY, len(body)), body, head(_SIGNATURE, len(signature)), signature)
    return b"".join(pieces)


def _encode_wrap(wrap: SealedWrap) -> bytes:
    namespace = wrap.namespace.encode()
    encoded = (
        head(_NAMESPACE, len(namespace)) + namespace
        + head(_KEY_ID, len(wrap.key_id)) + wrap.key_id
        + head(_CIPHERTEXT, len(wrap.ciphertext)) + wrap.ciphertext
    )  # fmt: skip
    return head(_WRAPS, len(encoded)) + encoded
