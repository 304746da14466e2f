"""An envelope taken apart, without opening it: what gateway and ends read and hash alike."""

import hashlib
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from isthmus.v1 import envelope_pb2
from isthmus.wire import header as header_format
from isthmus.wire import limits, names
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Header, parse_header
from isthmus.wire.pae import pae

SIGNATURE_BYTES = 64
MAX_WRAP_BYTES = 4096
_SIGNATURE_CONTEXT = "ise1/sig"
_HASH_LENGTH = names.DIGEST_BYTES.to_bytes(8, "big")
# What PAE puts before the first hash is always the same, and this is computed for every message.
_BEFORE_HASHES = pae(_SIGNATURE_CONTEXT, bytes(names.DIGEST_BYTES), b"")[: -names.DIGEST_BYTES - 8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedWrap:
    """The message key, encapsulated for one recipient."""

    namespace: str
    key_id: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEnvelope:
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
    message = envelope_pb2.Envelope()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise WireFormatError("the envelope is not a protobuf message") from None
    # Each access copies the bytes out of the message.
    header_bytes, body, signature = message.header, message.body, message.signature
    if len(body) > limits.MAX_BODY_BYTES:
        raise WireFormatError(f"the body is larger than {limits.MAX_BODY_BYTES} bytes")
    if not body:
        raise WireFormatError("the body is empty")
    if len(signature) != SIGNATURE_BYTES:
        raise WireFormatError(f"the signature is not {SIGNATURE_BYTES} bytes")
    header = parse_header(header_bytes)
    wraps = tuple([_read_wrap(wrap) for wrap in message.wraps])
    _check_wraps(header, wraps)
    header_format.check_canonical(message, data)
    return SealedEnvelope(
        header=header, header_bytes=header_bytes, wraps=wraps, body=body, signature=signature
    )


def _check_wraps(header: Header, wraps: tuple[SealedWrap, ...]) -> None:
    if tuple([wrap.namespace for wrap in wraps]) != header.recipients:
        raise WireFormatError("the wraps are not those of the recipients, in their order")


def _read_wrap(message: envelope_pb2.Wrap) -> SealedWrap:
    wrap = SealedWrap(namespace=message.namespace, key_id=message.key_id, ciphertext=message.ciphertext)
    if len(wrap.key_id) != names.KEY_ID_BYTES or not 0 < len(wrap.ciphertext) <= MAX_WRAP_BYTES:
        raise WireFormatError("a wrap has a key id or ciphertext of the wrong size")
    return wrap


def encode_parts(header: bytes, wraps: tuple[SealedWrap, ...], body: bytes, signature: bytes) -> bytes:
    """Serialize the parts of an envelope for the wire."""
    message = envelope_pb2.Envelope(header=header, body=body, signature=signature)
    for wrap in wraps:
        message.wraps.add(namespace=wrap.namespace, key_id=wrap.key_id, ciphertext=wrap.ciphertext)
    return message.SerializeToString(deterministic=True)
