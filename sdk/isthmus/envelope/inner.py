"""The plaintext inside an envelope: length, serialized payload, zeros up to the PADMÉ length.

PADMÉ (Nikitin et al., PoPETs 2019, "Reducing Metadata Leakage from Encrypted Files and Communication with
PURBs", section 4) hides all but O(log log n) bits of a length at a cost of at most 12 %.
"""

import struct

from isthmus.envelope.errors import EnvelopeRejectedError, NeverSealError, RejectionReason
from isthmus.payload.payload import Payload
from isthmus.wire.canonical import head, read
from isthmus.wire.errors import WireFormatError

_LENGTH = struct.Struct(">Q")
# The fields of InnerPayload and of PayloadHeader.
_CONTENT_TYPE, _HEADERS, _DATA = b"\x0a", b"\x12", b"\x1a"
_NAME, _VALUE = b"\x0a", b"\x12"
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
    content_type, data = payload.content_type.encode(), payload.data
    pieces = [head(_CONTENT_TYPE, len(content_type)), content_type]
    for name, value in payload.headers:
        header = _encode_header(name.encode(), value.encode())
        pieces += (head(_HEADERS, len(header)), header)
    pieces += (head(_DATA, len(data)), data)
    size = sum(map(len, pieces))
    length = _LENGTH.size + size
    return b"".join((_LENGTH.pack(size), *pieces, bytes(padme_length(length) - length)))


def decode_inner(plaintext: bytes) -> Payload:
    """Take a decrypted body apart. Raises EnvelopeRejectedError for a lying length, padding or format."""
    if len(plaintext) < _LENGTH.size:
        raise EnvelopeRejectedError(RejectionReason.PADDING)
    (length,) = _LENGTH.unpack_from(plaintext)
    end = _LENGTH.size + length
    check_padding(plaintext, end)
    try:
        content_type, headers, data = _read(plaintext[_LENGTH.size : end])
    except (WireFormatError, UnicodeDecodeError):
        raise EnvelopeRejectedError(RejectionReason.INNER) from None
    if not _well_formed(content_type, headers):
        raise EnvelopeRejectedError(RejectionReason.INNER)
    return Payload(content_type=content_type, headers=headers, data=data)


def check_padding(plaintext: bytes, end: int) -> None:
    """Zeros from ``end`` on, up to the PADMÉ length of ``end``. Raises EnvelopeRejectedError(PADDING).

    The expected length follows from the claimed one, so a lying length cannot pass with honest padding.
    """
    honest = end <= len(plaintext) == padme_length(end)
    if not honest or plaintext.count(0, end) != len(plaintext) - end:
        raise EnvelopeRejectedError(RejectionReason.PADDING)


def _encode_header(name: bytes, value: bytes) -> bytes:
    return head(_NAME, len(name)) + name + head(_VALUE, len(value)) + value


def _read(serialized: bytes) -> tuple[str, tuple[tuple[str, str], ...], bytes]:
    content_type, at = read(serialized, 0, _CONTENT_TYPE)
    headers: list[tuple[str, str]] = []
    while True:
        header, at = read(serialized, at, _HEADERS)
        if not header:
            break
        headers.append(_read_header(header))
    data, at = read(serialized, at, _DATA)
    if at != len(serialized):
        raise WireFormatError("the payload is not a protobuf message in its canonical serialization")
    return content_type.decode(), tuple(headers), data


def _read_header(data: bytes) -> tuple[str, str]:
    name, at = read(data, 0, _NAME)
    value, at = read(data, at, _VALUE)
    if at != len(data):
        raise WireFormatError("a header is not a protobuf message in its canonical serialization")
    return name.decode(), value.decode()


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
