"""The plaintext inside an envelope: length, serialized payload, zeros up to the PADMÉ length.

PADMÉ (Nikitin et al., PoPETs 2019, "Reducing Metadata Leakage from Encrypted Files and Communication with
PURBs", section 4) hides all but O(log log n) bits of a length at a cost of at most 12 %.
"""

import struct

from google.protobuf.message import DecodeError

from isthmus.envelope.errors import EnvelopeRejectedError, NeverSealError, RejectionReason
from isthmus.payload.payload import Payload
from isthmus.v1 import envelope_pb2

_LENGTH = struct.Struct(">Q")
MAX_CONTENT_TYPE_CHARS = 255
MAX_PAYLOAD_HEADERS = 256


def padme_length(length: int) -> int:
    """Return the padded length of ``length`` bytes."""
    if length < 2:  # noqa: PLR2004 - the logarithm of the logarithm begins here
        return length
    exponent = length.bit_length() - 1
    zero_bits = exponent - exponent.bit_length()
    mask = (1 << zero_bits) - 1
    return (length + mask) & ~mask


def encode_inner(payload: Payload) -> bytes:
    """Serialize and pad a payload. Raises NeverSealError when it breaks the rules that the opener checks."""
    if not _well_formed(payload.content_type, payload.headers):
        raise NeverSealError("the content type or the headers of the payload are not canonical")
    serialized = _to_message(payload).SerializeToString(deterministic=True)
    length = _LENGTH.size + len(serialized)
    return _LENGTH.pack(len(serialized)) + serialized + bytes(padme_length(length) - length)


def decode_inner(plaintext: bytes) -> Payload:
    """Take a decrypted body apart. Raises EnvelopeRejectedError for a lying length, padding or format."""
    return _parse(unpad(plaintext))


def unpad(plaintext: bytes) -> bytes:
    """Return the serialized payload of a padded one. Raises EnvelopeRejectedError(PADDING)."""
    if len(plaintext) < _LENGTH.size:
        raise EnvelopeRejectedError(RejectionReason.PADDING)
    (length,) = _LENGTH.unpack_from(plaintext)
    check_padding(plaintext, _LENGTH.size + length)
    return plaintext[_LENGTH.size : _LENGTH.size + length]


def check_padding(plaintext: bytes, end: int) -> None:
    """Zeros from ``end`` on, up to the PADMÉ length of ``end``. Raises EnvelopeRejectedError(PADDING).

    The expected length follows from the claimed one, so a lying length cannot pass with honest padding.
    """
    honest = end <= len(plaintext) == padme_length(end)
    if not honest or plaintext.count(0, end) != len(plaintext) - end:
        raise EnvelopeRejectedError(RejectionReason.PADDING)


def _parse(serialized: bytes) -> Payload:
    message = envelope_pb2.InnerPayload()
    try:
        message.ParseFromString(serialized)
    except DecodeError:
        raise EnvelopeRejectedError(RejectionReason.INNER) from None
    message.DiscardUnknownFields()
    canonical = message.SerializeToString(deterministic=True) == serialized
    headers = tuple([(header.name, header.value) for header in message.headers])
    if not canonical or not _well_formed(message.content_type, headers):
        raise EnvelopeRejectedError(RejectionReason.INNER)
    return Payload(content_type=message.content_type, headers=headers, data=message.data)


def _to_message(payload: Payload) -> envelope_pb2.InnerPayload:
    return envelope_pb2.InnerPayload(
        content_type=payload.content_type,
        headers=[envelope_pb2.PayloadHeader(name=name, value=value) for name, value in payload.headers],
        data=payload.data,
    )


def _well_formed(content_type: str, headers: tuple[tuple[str, str], ...]) -> bool:
    if len(content_type) > MAX_CONTENT_TYPE_CHARS or len(headers) > MAX_PAYLOAD_HEADERS:
        return False
    previous = ""
    for name, _ in headers:
        # Strictly ascending from the empty name: sorted, unique and none empty.
        if name <= previous or name != name.lower():
            return False
        previous = name
    return True
