"""The plaintext inside an envelope: length, serialized payload, zeros up to the PADMÉ length.

PADMÉ (Nikitin et al., PoPETs 2019, "Reducing Metadata Leakage from Encrypted Files and Communication with
PURBs", section 4) hides all but O(log log n) bits of a length at a cost of at most 12 %.
"""

import struct
from functools import lru_cache

from isthmus.envelope.errors import EnvelopeRejectedError, NeverSealError, RejectionReason
from isthmus.payload.payload import Payload
from isthmus.wire.canonical import head, read
from isthmus.wire.errors import WireFormatError

_LENGTH = struct.Struct(">Q")
_LENGTH_BYTES = _LENGTH.size
# The fields of InnerPayload and of PayloadHeader.
_CONTENT_TYPE, _HEADERS, _DATA = b"\x0a", b"\x12", b"\x1a"
_NAME, _VALUE = b"\x0a", b"\x12"
_Headers = tuple[tuple[str, str], ...]
MAX_CONTENT_TYPE_CHARS = 255
MAX_PAYLOAD_HEADERS = 256
_NOT_CANONICAL = "the content type or the headers of the payload are not canonical"


def padme_length(length: int) -> int:
    """Return the padded length of ``length`` bytes."""
    mask = _MASKS[length.bit_length()]
    return (length + mask) & ~mask


def _mask(bits: int) -> int:
    exponent = bits - 1
    # Below 2 there is no logarithm of the logarithm.
    return 0 if exponent < 1 else (1 << exponent - exponent.bit_length()) - 1


# By the number of bits of a length.
_MASKS = tuple(_mask(bits) for bits in range(65))


def encode_inner(payload: Payload) -> bytes:
    """Serialize and pad a payload. Raises NeverSealError when it breaks the rules that the opener checks."""
    content_type, data, headers = payload
    encoded = _encoded_type(content_type)
    if headers:
        encoded += _encode_headers(headers)
    encoded += head(_DATA, len(data))
    size = len(encoded) + len(data)
    length = _LENGTH_BYTES + size
    return b"".join((_LENGTH.pack(size), encoded, data, bytes(padme_length(length) - length)))


def decode_inner(plaintext: bytes) -> Payload:
    """Take a decrypted body apart. Raises EnvelopeRejectedError for a lying length, padding or format."""
    if len(plaintext) < _LENGTH_BYTES:
        raise EnvelopeRejectedError(RejectionReason.PADDING)
    (length,) = _LENGTH.unpack_from(plaintext)
    end = _LENGTH_BYTES + length
    check_padding(plaintext, end)
    try:
        content_type, at = read(plaintext, _LENGTH_BYTES, _CONTENT_TYPE)
        known_type = _known_type(content_type)
        headers: _Headers = ()
        if plaintext.startswith(_HEADERS, at) and at < end:
            headers, at = _read_headers(plaintext, at)
        data, at = read(plaintext, at, _DATA) if at < end else (b"", at)
    except (WireFormatError, UnicodeDecodeError):
        raise EnvelopeRejectedError(RejectionReason.INNER) from None
    if at != end:
        raise EnvelopeRejectedError(RejectionReason.INNER)
    return Payload(known_type, data, headers)


def check_padding(plaintext: bytes, end: int) -> None:
    """Zeros from ``end`` on, up to the PADMÉ length of ``end``. Raises EnvelopeRejectedError(PADDING).

    The expected length follows from the claimed one, so a lying length cannot pass with honest padding.
    """
    honest = end <= len(plaintext) == padme_length(end)
    if not honest or plaintext.count(0, end) != len(plaintext) - end:
        raise EnvelopeRejectedError(RejectionReason.PADDING)


@lru_cache(maxsize=256)
def _encoded_type(content_type: str) -> bytes:
    if len(content_type) > MAX_CONTENT_TYPE_CHARS:
        raise NeverSealError(_NOT_CANONICAL)
    encoded = content_type.encode()
    return head(_CONTENT_TYPE, len(encoded)) + encoded


def _encode_headers(headers: _Headers) -> bytes:
    if not _well_formed(headers):
        raise NeverSealError(_NOT_CANONICAL)
    encoded = [
        head(_NAME, len(name)) + name + head(_VALUE, len(value)) + value
        for name, value in [(name.encode(), value.encode()) for name, value in headers]
    ]
    return b"".join([head(_HEADERS, len(header)) + header for header in encoded])


@lru_cache(maxsize=256)
def _known_type(encoded: bytes) -> str:
    content_type = encoded.decode()
    if len(content_type) > MAX_CONTENT_TYPE_CHARS:
        raise WireFormatError("the content type is too long")
    return content_type


def _read_headers(serialized: bytes, at: int) -> tuple[_Headers, int]:
    headers: list[tuple[str, str]] = []
    while True:
        header, at = read(serialized, at, _HEADERS)
        if not header:
            break
        headers.append(_read_header(header))
    if not _well_formed(tuple(headers)):
        raise WireFormatError("the headers are not sorted, unique and in lower case")
    return tuple(headers), at


def _read_header(data: bytes) -> tuple[str, str]:
    name, at = read(data, 0, _NAME)
    value, at = read(data, at, _VALUE)
    if at != len(data):
        raise WireFormatError("a header is not a protobuf message in its canonical serialization")
    return name.decode(), value.decode()


def _well_formed(headers: _Headers) -> bool:
    if len(headers) > MAX_PAYLOAD_HEADERS:
        return False
    previous = ""
    for name, _ in headers:
        # Strictly ascending from the empty name: sorted, unique and none empty.
        if name <= previous or name != name.lower():
            return False
        previous = name
    return True
