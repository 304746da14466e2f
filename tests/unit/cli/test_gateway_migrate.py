"""``isthmus gateway migrate``: what it says, and what it exits with."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isthmus.cli.app import app

runner = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a gateway that never ran."""
    path = tmp_path / "isthmus.toml"
    path.write_text(
        'trust_domain = "example.internal"\ndata_dir = "state"\n[[issuers]]\nkind = "development"\n'
    )
    return path


def run(config: Path, *options: str) -> tuple[int, str]:
    """Run the command; return its exit code and all that it said."""
    result = runner.invoke(app, ["gateway", "migrate", "--config", str(config), *options])
    return result.exit_code, result.output


def test_schema_is_made_once_when_the_command_is_repeated(config: Path, tmp_path: Path) -> None:
    """A dry run says it and makes nothing; then it is made; then there is nothing to do."""
    code, said = run(config, "--dry-run")
    assert (code, list(tmp_path.iterdir())) == (0, [config])
    assert "0001  The first schema." in said
    assert "CREATE TABLE operations" in said
    assert "would go from nothing to" in said
    code, said = run(config)
    assert code == 0
    assert "CREATE TABLE" not in said
    assert (tmp_path / "state" / "isthmus.db").stat().st_mode & 0o777 == 0o600
    code, said = run(config)
    assert (code, "nothing to do" in said) == (0, True)


def test_migrations_are_one_document_when_it_is_for_a_program(config: Path) -> None:
    """With every statement, whether they ran or would."""
    code, said = run(config, "--dry-run", "-o", "json")
    document = json.loads(said)
    assert (code, document["schema"], document["dry_run"]) == (0, "", True)
    assert document["migrations"][0]["revision"] == "0001"
    assert document["migrations"][0]["statements"][0].startswith("CREATE TABLE")
    assert document["migrations"][-1]["revision"] == document["release_schema"]


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_exit_code_is_five_when_a_newer_release_wrote_the_database(
    config: Path, options: tuple[str, ...]
) -> None:
    """And it says which release to run."""
    assert run(config)[0] == 0
    connection = sqlite3.connect(config.parent / "state" / "isthmus.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    code, said = run(config, *options)
    assert code == 5
    assert "a newer release of Isthmus wrote the database (schema 9999" in said


def test_exit_code_is_two_when_the_file_is_no_database(config: Path) -> None:
    """It is left as it is."""
    database = config.parent / "state" / "isthmus.db"
    database.parent.mkdir(mode=0o700)
    database.touch(mode=0o600)
    database.write_text("minutes of a meeting")
    code, said = run(config)
    assert (code, database.read_text()) == (2, "minutes of a meeting")
    assert "Is it a database of Isthmus" in said


def test_schema_is_made_on_a_server_when_there_is_a_dsn(config: Path, bare_dsn: str) -> None:
    """A dry run says the statements for PostgreSQL; what it is called has no user and no password."""
    config.write_text(f'{config.read_text()}[store]\ndsn = "{bare_dsn}"\n')
    code, said = run(config, "--dry-run")
    assert code == 0
    assert 'caller TEXT COLLATE "C" NOT NULL' in said
    assert "postgresql://" in said
    assert "would go from nothing to" in said
    assert run(config)[0] == 0
    code, said = run(config)
    assert (code, "nothing to do" in said) == (0, True)


def test_exit_code_is_six_when_the_server_does_not_answer(config: Path) -> None:
    """And nobody reads the password."""
    dsn = "host=127.0.0.1 port=1 user=isthmus password=hunter2 dbname=isthmus"
    config.write_text(f'{config.read_text()}[store]\ndsn = "{dsn}"\n')
    code, said = run(config)
    assert (code, "hunter2" in said) == (6, False)
    assert "the database cannot be reached" in said
