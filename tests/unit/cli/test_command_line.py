"""The command line as a whole, without a gateway."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.cli.group import RootGroup
from isthmus.gateway.store.database_file import FileLock

runner = CliRunner()
GROUPS = (
    "gateway",
    "worker",
    "namespace",
    "endpoint",
    "operation",
    "completions",
    "event",
    "keys",
    "trust",
    "audit",
    "blobs",
    "profile",
)


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("ISTHMUS_CONFIG", raising=False)
    monkeypatch.delenv("ISTHMUS_PROFILE", raising=False)


def commands(
    group: Any = None,  # noqa: ANN401 - the classes of typer's own click are private
    path: tuple[str, ...] = (),
) -> list[tuple[tuple[str, ...], Any]]:
    """Return every command with its path."""
    group = typer.main.get_command(app) if group is None else group
    children = getattr(group, "commands", {})
    if not children:
        return [(path, group)]
    return [found for name, child in children.items() for found in commands(child, (*path, name))]


def test_help_lists_commands_and_exit_codes_when_it_is_asked_for() -> None:
    """The first thing that anybody sees."""
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(group in result.output for group in GROUPS)
    assert "8 the ending is not proven" in " ".join(result.output.split())


def test_heavy_modules_stay_away_when_help_is_shown() -> None:
    """What makes help slow is imported by the commands that need it."""
    program = (
        "import sys; from isthmus.cli.app import run; run(['--help']);"
        "print(sorted({m.partition('.')[0] for m in sys.modules}"
        " & {'grpc', 'google', 'cryptography', 'sqlalchemy', 'nexusrpc', 'jwt', 'airportsdata'}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_command_has_help_when_it_is_asked_for(path: tuple[str, ...]) -> None:
    """Every command explains itself."""
    result = runner.invoke(app, [*path, "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("path", "command"), commands(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_option_has_a_variable_when_the_tree_is_built(
    path: tuple[str, ...],
    command: Any,  # noqa: ANN401 - as above
) -> None:
    """Named after its path, unless it is the gateway's own."""
    for option in command.params:
        if option.param_type_name == "option" and not option.is_eager:
            assert option.envvar.startswith("ISTHMUS_"), (path, option.name)


def test_variable_is_read_when_the_option_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """ISTHMUS_OUTPUT=json is --output json."""
    monkeypatch.setenv("ISTHMUS_OUTPUT", "json")
    assert "isthmus" in json.loads(runner.invoke(app, ["version"]).stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "json", "version"],
        ["version", "--output", "json"],
        ["version", "-o", "json"],
        ["version", "--output=json"],
    ],
)
def test_root_option_works_when_it_stands_anywhere(arguments: list[str]) -> None:
    """People write it where they think of it."""
    assert "python" in json.loads(runner.invoke(app, arguments).stdout)


def test_usage_error_exits_with_two_when_an_argument_is_missing() -> None:
    """As documented."""
    assert runner.invoke(app, ["call", "payments"]).exit_code == 2
    assert runner.invoke(app, ["no-such-command"]).exit_code == 2


def test_unreachable_gateway_exits_with_six_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence on stderr, nothing on stdout, no traceback."""
    monkeypatch.setenv("ISTHMUS_ADDRESS", "127.0.0.1:1")
    result = runner.invoke(app, ["whoami"])
    assert result.exit_code == 6
    assert result.stdout == ""
    assert result.stderr.startswith("isthmus: ")
    assert "check the address" in result.stderr
    assert "Traceback" not in result.stderr


def test_missing_profile_exits_with_two_when_it_is_named() -> None:
    """And says where they would be looked for."""
    result = runner.invoke(app, ["--profile", "nobody", "whoami"])
    assert result.exit_code == 2
    assert "there is no profile 'nobody'" in result.stderr
    assert "set ISTHMUS_CONFIG" in result.stderr


def test_missing_profiles_file_exits_with_two_when_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By an option or a variable; that there is none at the usual place is fine."""
    missing = str(tmp_path / "missing.toml")
    assert "There are no profiles in" in runner.invoke(app, ["profile", "list"]).output
    by_option = runner.invoke(app, ["--config", missing, "profile", "list"])
    monkeypatch.setenv("ISTHMUS_CONFIG", missing)
    for result in (by_option, runner.invoke(app, ["profile", "show"]), runner.invoke(app, ["whoami"])):
        assert result.exit_code == 2
        assert f"names {missing}, which does not exist" in result.stderr


def test_missing_keyring_exits_with_two_when_it_is_needed() -> None:
    """The error says how to set one."""
    result = runner.invoke(app, ["keys", "show"])
    assert result.exit_code == 2
    assert "ISTHMUS_CONFIG" in result.stderr
    assert "ISTHMUS_KEYRING" in result.stderr


@pytest.fixture
def broken() -> typer.Typer:
    """A command line whose only command does what nobody foresaw."""
    application = typer.Typer(cls=RootGroup)

    @application.callback()
    def root() -> None:
        """Do nothing."""

    @application.command()
    def divide() -> None:
        """Divide by zero."""
        raise ZeroDivisionError("secret detail")

    @application.command()
    def interrupt() -> None:
        """Be interrupted."""
        raise KeyboardInterrupt

    return application


def test_unforeseen_error_asks_for_a_report_when_it_happens(
    broken: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a traceback, unless it is asked for."""
    result = runner.invoke(broken, ["divide"])
    assert result.exit_code == 1
    assert "ISTHMUS_DEBUG=1" in result.stderr
    assert "Traceback" not in result.stderr
    monkeypatch.setenv("ISTHMUS_DEBUG", "1")
    result = runner.invoke(broken, ["divide"])
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr


def test_interrupt_exits_with_130_when_ctrl_c_is_pressed(broken: typer.Typer) -> None:
    """As shells do."""
    assert runner.invoke(broken, ["interrupt"]).exit_code == 130


def test_missing_typer_is_explained_when_the_extra_is_not_installed() -> None:
    """Instead of an ImportError."""
    program = (
        "import sys, importlib.util; real = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'typer' else real(name, *rest);"
        "from isthmus.cli.main import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "pip install 'isthmus[cli]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_config_is_checked_without_a_gateway_when_it_is_wrong(tmp_path: Path) -> None:
    """All problems at once, in one JSON document."""
    path = tmp_path / "isthmus.toml"
    path.write_text('trust_domain = "BAD"\ndata_dir = "x"\nlease_seconds = 1\n')
    result = runner.invoke(app, ["gateway", "check-config", "--config", str(path), "-o", "json"])
    assert result.exit_code == 2
    assert {problem["option"] for problem in json.loads(result.stdout)} >= {"trust_domain", "lease_seconds"}


def test_gateway_is_not_run_when_its_config_is_missing(tmp_path: Path) -> None:
    """The error names the file."""
    result = runner.invoke(app, ["gateway", "run", "--config", str(tmp_path / "missing.toml")])
    assert result.exit_code == 2
    assert "missing.toml" in result.stderr


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_config_option_is_named_when_there_is_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    """Whoever stands in the wrong folder sees more than a list of what is missing."""
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["gateway", command])
    assert result.exit_code == 2
    assert "no isthmus.toml here; give --config" in result.stderr


def run_gateway(data_dir: Path, address: str) -> "subprocess.CompletedProcess[str]":
    """Run a gateway that should not get far."""
    settings = {
        "ISTHMUS_GATEWAY_TRUST_DOMAIN": "example.internal",
        "ISTHMUS_GATEWAY_DATA_DIR": str(data_dir),
        "ISTHMUS_GATEWAY_LISTEN_ADDRESS": address,
        "ISTHMUS_GATEWAY_ISSUERS": '[{"kind": "development"}]',
    }
    return subprocess.run(
        [sys.executable, "-m", "isthmus.cli", "gateway", "run"],
        env=os.environ | settings,
        cwd=data_dir.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_gateway_exits_with_five_when_something_else_has_its_address(tmp_path: Path) -> None:
    """It conflicts with what exists; and the message says what helps."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run_gateway(tmp_path / "data", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.returncode == 5, result.stderr
    assert "cannot listen on 127.0.0.1" in result.stderr
    assert "Choose another listen.address." in result.stderr


def test_gateway_exits_with_five_when_another_one_has_its_database(tmp_path: Path) -> None:
    """As above."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    lock = FileLock(data / "isthmus.db")
    lock.acquire()
    try:
        result = run_gateway(data, "127.0.0.1:0")
    finally:
        lock.release()
    assert result.returncode == 5, result.stderr
    assert "another gateway has the database" in result.stderr


def test_config_is_refused_when_a_key_file_holds_no_key(tmp_path: Path) -> None:
    """What would stop the start is found before it, and nothing is written."""
    key = tmp_path / "team.pub"
    key.write_text("-----BEGIN CERTIFICATE-----\n")
    key.chmod(0o600)
    path = tmp_path / "isthmus.toml"
    path.write_text(
        'trust_domain = "example.internal"\ndata_dir = "state"\n[listen]\naddress = "127.0.0.1:7243"\n'
        '[[issuers]]\nissuer = "team"\nalgorithm = "EdDSA"\naudience = "isthmus"\nnamespace = "team"\n'
        'key_file = "team.pub"\n'
    )
    result = runner.invoke(app, ["gateway", "check-config", "--config", str(path), "-o", "json"])
    assert result.exit_code == 2
    assert [problem["option"] for problem in json.loads(result.stdout)] == ["issuers[0].key_file"]
    assert not (tmp_path / "state").exists()


def test_current_profile_is_marked_when_the_file_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the file, unless the person names another one."""
    path = tmp_path / "profiles.toml"
    path.write_text('current = "b"\n[profiles.a]\n[profiles.b]\n')
    monkeypatch.setenv("ISTHMUS_CONFIG", str(path))

    def current(*arguments: str) -> list[str]:
        listed = runner.invoke(app, [*arguments, "profile", "list", "-o", "json"])
        return [profile["name"] for profile in json.loads(listed.stdout) if profile["current"]]

    assert current() == ["b"]
    assert current("--profile", "a") == ["a"]
