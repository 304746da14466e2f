"""Canonical protobuf, read and written field by field: length-delimited fields in ascending order.

A message that is hashed or compared as bytes may have one serialization only. What this module reads is that
one: no explicit defaults, no overlong lengths, no unknown, repeated or reordered fields. A message is read
by asking for its fields in order and finding that the end was reached. For the small messages that wrap
everything else this costs a fraction of parsing and serializing again.
"""

from functools import lru_cache

from isthmus.wire.errors import WireFormatError

_CONTINUES = 0x80
_BITS = 7
_LONGEST_SHIFT = 28


def varint(number: int) -> bytes:
    """Return the shortest form of a number of up to 64 bits. Raises WireFormatError when it is none."""
    if number >> 64:
        raise WireFormatError("a number is negative or too large")
    written = bytearray()
    while number >= _CONTINUES:
        written.append(number & 0x7F | _CONTINUES)
        number >>= _BITS
    written.append(number)
    return bytes(written)


@lru_cache(maxsize=4096)
def head(tag: bytes, length: int) -> bytes:
    """Return what comes before the bytes of a field: nothing when there are none, as the default is left out.

    Cached: lengths repeat from message to message.
    """
    return tag + varint(length) if length else b""


def read(data: bytes, at: int, tag: bytes) -> tuple[bytes, int]:
    """Read the field of a one-byte tag: its bytes, and where the next field begins.

    Empty when another field begins here, or the data ends. Raises WireFormatError unless canonical.
    """
    if not data.startswith(tag, at):
        return b"", at
    try:
        length, start = data[at + 1], at + 2
        if length >= _CONTINUES:
            if 0 < (more := data[start]) < _CONTINUES:
                length, start = length + (more << _BITS) - _CONTINUES, start + 1
            else:
                length, start = _read_long_length(data, at + 1)
    except IndexError:
        raise WireFormatError("a length is cut off") from None
    end = start + length
    if not length or end > len(data):
        raise WireFormatError("a field is empty or cut off")
    return data[start:end], end


def _read_long_length(data: bytes, at: int) -> tuple[int, int]:
    """Read a length of any size. Raises WireFormatError when overlong, IndexError when cut off."""
    length = shift = 0
    while (byte := data[at]) >= _CONTINUES and shift < _LONGEST_SHIFT:
        length |= (byte - _CONTINUES) << shift
        shift += _BITS
        at += 1
    if not 0 < byte < _CONTINUES:
        raise WireFormatError("a length is overlong")
    return length | byte << shift, at + 1
