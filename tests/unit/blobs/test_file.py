"""Files as values."""

import gc
from pathlib import Path

import pytest

from isthmus.blobs.file import File
from isthmus.payload.converter import DefaultPayloadConverter
from isthmus.payload.errors import PayloadConversionError


def test_file_stays_when_it_is_the_users_own(tmp_path: Path) -> None:
    """Only temporary files are removed."""
    path = tmp_path / "mine"
    path.write_bytes(b"1")
    with File(path) as file:
        assert file.save(tmp_path / "copy").read_bytes() == b"1"
    assert path.exists()


def test_temporary_file_goes_when_it_is_closed_or_forgotten(tmp_path: Path) -> None:
    """Nobody has to think of it."""
    with File.scratch(tmp_path) as closed:
        assert closed.path.stat().st_mode & 0o777 == 0o600
    closed.close()
    assert not closed.path.exists()
    forgotten = File.scratch(tmp_path)
    path = forgotten.path
    del forgotten
    gc.collect()
    assert not path.exists()


def test_temporary_file_stays_when_it_is_saved(tmp_path: Path) -> None:
    """It moves, and is the user's from then on."""
    file = File.scratch(tmp_path)
    before = file.path
    file.path.write_bytes(b"2")
    kept = file.save(tmp_path / "kept")
    file.close()
    assert kept.read_bytes() == b"2"
    assert file.path == kept
    assert not before.exists()


def test_file_is_refused_when_it_is_inside_of_another_value(tmp_path: Path) -> None:
    """A path of this machine means nothing elsewhere: it is not sent by mistake."""
    with pytest.raises(PayloadConversionError, match="File"):
        DefaultPayloadConverter().to_payload({"report": File(tmp_path)})
