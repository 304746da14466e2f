"""The claim check as bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.blobs.errors import BlobRefusedError
from isthmus.blobs.pointer import CONTENT_TYPE, Pointer, parse_pointer

POINTER = Pointer(
    url="s3://exchange/x/y", sealed_bytes=7, sha256=b"d" * 32, key=b"k" * 32, content_type="application/json"
)


def changed(**fields: object) -> bytes:
    """Return the canonical form of a pointer with other fields."""
    document: dict[str, Any] = json.loads(POINTER.encode()) | fields
    document = {name: value for name, value in document.items() if value is not None}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def test_pointer_is_read_when_it_was_written() -> None:
    """And shows its key to nobody."""
    assert parse_pointer(POINTER.encode()) == POINTER
    assert "key" not in repr(POINTER)
    assert changed() == POINTER.encode()


@pytest.mark.parametrize(
    "data",
    [
        changed(version=2),
        changed(version=True),
        changed(sealed_bytes=0),
        changed(sealed_bytes=-1),
        changed(sealed_bytes="7"),
        changed(sealed_bytes=7.0),
        changed(key="6b" * 31),
        changed(key="6B" * 32),
        changed(key=" " + "6b" * 32),
        changed(sha256="64" * 33),
        changed(sha256="zz" * 32),
        changed(url="s" * 1025),
        changed(content_type=CONTENT_TYPE),
        changed(content_type="x" * 300),
        changed(extra=1),
        changed(key=None),
        POINTER.encode() + b" ",
        POINTER.encode()[:-1],
        POINTER.encode().replace(b'"version":1', b'"version":1,"version":1'),
        b"[" * 4000,
        b"null",
        b"",
        b"\xff",
    ],
)
def test_pointer_is_refused_when_it_is_not_canonical(data: bytes) -> None:
    """There is one way to write it."""
    with pytest.raises(BlobRefusedError, match="malformed"):
        parse_pointer(data)


@given(st.binary(max_size=200))
def test_parser_refuses_when_bytes_are_noise(noise: bytes) -> None:
    """With its own error, whatever comes."""
    with pytest.raises(BlobRefusedError):
        parse_pointer(noise)
