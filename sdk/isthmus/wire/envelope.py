"""An envelope taken apart, without opening it: what gateway and ends read and hash alike."""

import hashlib
from typing import NamedTuple

from isthmus.wire import limits, names
from isthmus.wire.canonical import head, read
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Header, parse_header
from isthmus.wire.pae import pae

SIGNATURE_BYTES = 64
MAX_WRAP_BYTES = 4096
_SIGNATURE_CONTEXT = "ise1/sig"
_HASH_LENGTH = names.DIGEST_BYTES.to_bytes(8, "big")
# What PAE puts before the first hash is always the same, and this is computed for every message.
_BEFORE_HASHES = pae(_SIGNATURE_CONTEXT, bytes(names.DIGEST_BYTES), b"")[: -names.DIGEST_BYTES - 8]
# The fields of Envelope and of Wrap.
_HEADER, _WRAPS, _BODY, _SIGNATURE = b"\x0a", b"\x12", b"\x1a", b"\x22"
_NAMESPACE, _KEY_ID, _CIPHERTEXT = b"\x0a", b"\x12", b"\x1a"


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
    if len(header_hash_) != names.DIGEST_BYTES or len(body_digest) != names.DIGEST_BYTES:
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
    wraps: list[SealedWrap] = []
    for _ in header.recipients:
        wrap, at = read(data, at, _WRAPS)
        if wrap:
            wraps.append(_read_wrap(wrap))
    body, at = read(data, at, _BODY)
    signature, at = read(data, at, _SIGNATURE)
    if at != len(data):
        raise WireFormatError("the envelope has more wraps than recipients, or is not in canonical form")
    if not 0 < len(body) <= limits.MAX_BODY_BYTES:
        raise WireFormatError(f"the body is empty or larger than {limits.MAX_BODY_BYTES} bytes")
    if len(signature) != SIGNATURE_BYTES:
        raise WireFormatError(f"the signature is not {SIGNATURE_BYTES} bytes")
    envelope = SealedEnvelope(header, header_bytes, tuple(wraps), body, signature)
    _check_wraps(envelope)
    return envelope


def parse_head(data: bytes) -> tuple[bytes, tuple[SealedWrap, ...]]:
    """Return header and wraps of an envelope of which only the beginning is there. Raises WireFormatError."""
    header_bytes, at = read(data, 0, _HEADER)
    wraps: list[SealedWrap] = []
    while data[at : at + 1] == _WRAPS:
        wrap, at = read(data, at, _WRAPS)
        wraps.append(_read_wrap(wrap))
    return header_bytes, tuple(wraps)


def _check_wraps(envelope: SealedEnvelope) -> None:
    if tuple([wrap.namespace for wrap in envelope.wraps]) != envelope.header.recipients:
        raise WireFormatError("the wraps are not those of the recipients, in their order")


def _read_wrap(data: bytes) -> SealedWrap:
    namespace, at = read(data, 0, _NAMESPACE)
    key_id, at = read(data, at, _KEY_ID)
    ciphertext, at = read(data, at, _CIPHERTEXT)
    if at != len(data):
        raise WireFormatError("a wrap is not a protobuf message in its canonical serialization")
    if len(key_id) != names.KEY_ID_BYTES or not 0 < len(ciphertext) <= MAX_WRAP_BYTES:
        raise WireFormatError("a wrap has a key id or ciphertext of the wrong size")
    try:
        return SealedWrap(namespace.decode(), key_id, ciphertext)
    except UnicodeDecodeError:
        raise WireFormatError("the namespace of a wrap is not text") from None


def encode_parts(header: bytes, wraps: tuple[SealedWrap, ...], body: bytes, signature: bytes) -> bytes:
    """Serialize the parts of an envelope for the wire."""
    pieces = [head(_HEADER, len(header)), header]
    for wrap in wraps:
        namespace = wrap.namespace.encode()
        encoded = (
            head(_NAMESPACE, len(namespace)) + namespace
            + head(_KEY_ID, len(wrap.key_id)) + wrap.key_id
            + head(_CIPHERTEXT, len(wrap.ciphertext)) + wrap.ciphertext
        )  # fmt: skip
        pieces += (head(_WRAPS, len(encoded)), encoded)
    pieces += (head(_BODY, len(body)), body, head(_SIGNATURE, len(signature)), signature)
    return b"".join(pieces)
