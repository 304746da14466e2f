"""Blobs whose time is over."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.blobs.world import NOW, World, binding
from typer.testing import CliRunner

from isthmus.blobs.name import is_blob_name, kept_until, new_name
from isthmus.blobs.sweep import sweep
from isthmus.cli.app import app
from isthmus.payload.payload import Payload

PAYLOAD = Payload(content_type="application/octet-stream", data=b"x" * 100)


def files(folder: Path) -> set[str]:
    """Return what there is."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_blob_goes_when_its_time_is_over(world: World) -> None:
    """Not before; and a dry run only tells."""
    world.sender.pack(PAYLOAD, binding=binding())
    (blob,) = files(world.store)
    late = NOW + timedelta(days=90, seconds=1)
    assert list(sweep(world.root, now=NOW + timedelta(days=89), dry_run=False)) == []
    assert [swept.url.endswith(blob) for swept in sweep(world.root, now=late, dry_run=True)] == [True]
    assert files(world.store) == {blob}
    (swept,) = sweep(world.root, now=late, dry_run=False)
    assert swept.kept_until == NOW + timedelta(days=90)
    assert files(world.store) == set()


def test_rest_of_an_upload_goes_when_its_time_is_over(world: World) -> None:
    """Whoever wrote it was killed."""
    name = new_name("app-team", written=NOW, kept_until=NOW)
    rest = world.store / (name + ".partial")
    rest.parent.mkdir(parents=True)
    rest.write_bytes(b"half")
    assert len(list(sweep(world.root, now=NOW, dry_run=False))) == 1
    assert not rest.exists()


@pytest.mark.parametrize(
    "name",
    [
        "README",
        "app-team/data.csv",
        "app-team/20200101T000000Z-20200102T000000Z-" + "0" * 32 + ".sealed.bak",
        "app-team/20200101T000000Z-20209902T000000Z-" + "0" * 32 + ".sealed",
        "deep/app-team/20200101T000000Z-20200102T000000Z-" + "0" * 32 + ".sealed",
        "App/20200101T000000Z-20200102T000000Z-" + "0" * 32 + ".sealed",
    ],
)
def test_file_stays_when_it_is_not_named_as_blobs_are(world: World, name: str) -> None:
    """A sweep never touches what is not its own."""
    path = world.store / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    os.utime(path, (0, 0))
    assert list(sweep(world.root, now=NOW, dry_run=False)) == []
    assert path.exists()


def test_sweep_is_empty_when_nothing_was_ever_written(world: World) -> None:
    """The folder is made by the first blob."""
    assert list(sweep(world.root, now=NOW, dry_run=False)) == []


TIMES = st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - timezones says it


@given(TIMES, TIMES)
def test_name_tells_its_time_when_it_was_made(written: datetime, until: datetime) -> None:
    """To the second, for any time."""
    name = new_name("app-team", written=written, kept_until=until)
    assert is_blob_name(name)
    assert kept_until(name) == min(until.replace(microsecond=0), datetime(9999, 12, 31, tzinfo=UTC))


def test_command_sweeps_when_the_profile_names_a_store(world: World, tmp_path: Path) -> None:
    """``isthmus blobs sweep``, dry and wet, and what it says without a store."""
    past = new_name("app-team", written=NOW.replace(year=2020), kept_until=NOW.replace(year=2021))
    path = world.store / past
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    runner = CliRunner()
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "ISTHMUS_BLOB_STORE": world.root}
    for option, stays in ((["--dry-run"], True), ([], False)):
        result = runner.invoke(app, ["--output", "json", "blobs", "sweep", *option], env=environment)
        assert result.exit_code == 0, result.output
        assert past in result.output
        assert path.exists() is stays
    result = runner.invoke(app, ["blobs", "sweep"], env=environment | {"ISTHMUS_BLOB_STORE": ""})
    assert result.exit_code == 2
    assert "ISTHMUS_BLOB_STORE" in result.output
