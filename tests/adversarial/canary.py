"""Canaries: random words that must not be found, and a search that finds them in every disguise."""

import base64
import json
import re
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

MARKER_CHARS = 18
_MOST_INFLATED = 4 * 1024 * 1024
_LONGEST_STREAM = 256 * 1024
_STEP = 32
# Gzip, and zlib with the windows that its levels use.
_COMPRESSED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")


def marker() -> str:
    """Return the beginning that a flock of canaries shares: searched for once, it finds all of them.

    Characters that URLs, JSON and UTF-8 write differently come first, so that no form looks like another.
    """
    return "«&/" + secrets.token_hex(MARKER_CHARS // 2)


def forms(text: str) -> dict[str, bytes]:
    """Return what a text looks like in each encoding that somebody might have used on its way."""
    raw = text.encode()
    return {
        "raw": raw,
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "url": quote(text, safe="").encode(),
        "json": json.dumps(text)[1:-1].encode(),
        "log": repr(raw)[2:-1].encode(),
        **{f"base64-{shift}": _aligned(raw, shift) for shift in range(3)},
        **{f"base64url-{shift}": _aligned(raw, shift, b"-_") for shift in range(3)},
    }


def _aligned(raw: bytes, shift: int, letters: bytes = b"+/") -> bytes:
    """Return the middle of a base64 text: what stays the same whatever stands around the bytes."""
    encoded = base64.b64encode(b"\0" * shift + raw, letters).rstrip(b"=")
    first = 0 if shift == 0 else shift + 1
    return encoded[first:-1]


@dataclass(slots=True)
class Flock:
    """Canaries with one marker, by the place that each was put into."""

    marker: str = field(default_factory=marker)
    _placed: dict[str, str] = field(default_factory=dict)

    def put(self, place: str) -> str:
        """Return the canary for a place, new the first time."""
        return self._placed.setdefault(place, f"{self.marker}-{place}")

    def found_in(self, data: bytes) -> set[str]:
        """Return in which forms the flock is in the data, compressed parts of it included."""
        needles = forms(self.marker)
        found = {name for name, needle in needles.items() if needle in data}
        for part in inflated(data):
            found |= {f"{name} in compressed" for name, needle in needles.items() if needle in part}
        return found


def inflated(data: bytes) -> Iterator[bytes]:
    """Return what every compressed stream in the data unpacks to, as far as it does."""
    for start in _COMPRESSED.finditer(data):
        part = _unpacked(data[start.start() : start.start() + _LONGEST_STREAM])
        if len(part) > MARKER_CHARS:
            yield part


def _unpacked(stream: bytes) -> bytes:
    """Unpack in small steps: where a stream breaks off, what came before counts."""
    unpack = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    part = bytearray()
    for step in range(0, len(stream), _STEP):
        try:
            part += unpack.decompress(stream[step : step + _STEP])
        except zlib.error:
            break
        if unpack.eof or len(part) > _MOST_INFLATED:
            break
    return bytes(part)
