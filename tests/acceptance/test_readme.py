"""The README's four journeys, executed as they are written."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.acceptance.conftest import INSTALLED
from tests.acceptance.deployment.deadline import await_that

REPOSITORY = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- (?P<what>[^>]+) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)
START_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block, and what the comment above it says to do with it."""

    what: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page that carry an instruction, in order."""
    text = (REPOSITORY / page).read_text()
    return [Block(what=match["what"], text=match["text"]) for match in BLOCK.finditer(text)]


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def gateway(tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The block that runs in another terminal, on a free port, until its profiles work."""
    (block,) = (block for block in blocks("README.md") if "background" in block.what)
    with (tmp_path / "dev.log").open("w") as log:
        process = subprocess.Popen(
            ["/bin/bash", "-euc", f"exec {block.text.strip()} --port {free_port()}"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            _await_profiles(tmp_path, environment, process)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_profiles(folder: Path, environment: dict[str, str], process: subprocess.Popen[str]) -> None:
    profiles = folder / ".isthmus-dev" / "profiles.toml"
    log = folder / "dev.log"

    def work() -> bool:
        assert process.poll() is None, log.read_text()
        if "isthmus profile list" not in log.read_text():
            return False
        asked = subprocess.run(
            ["/bin/bash", "-c", "isthmus --profile data-team whoami"],
            env=environment | {"ISTHMUS_CONFIG": str(profiles)},
            capture_output=True,
            check=False,
        )
        return asked.returncode == 0

    await_that(work, "profiles that work", seconds=START_SECONDS)


@pytest.mark.acceptance
@pytest.mark.slow
@INSTALLED
def test_journeys_work_when_they_are_typed_as_the_readme_says(
    tmp_path: Path, environment: dict[str, str], gateway: subprocess.Popen[str]
) -> None:
    """Every block runs in one shell, in order, and the calls show their results."""
    assert gateway.poll() is None
    shown = run_page(blocks("README.md"), tmp_path, environment)
    assert shown.count("Ada paid 12.50") == 3
    assert "decrypt-only" in shown
    assert "allow:payments:data-team" in shown


@pytest.mark.acceptance
@pytest.mark.slow
def test_large_payloads_work_when_they_are_typed_as_the_page_says(
    tmp_path: Path, environment: dict[str, str], gateway: subprocess.Popen[str]
) -> None:
    """A file goes there and comes back, and the sweep finds nothing to do."""
    assert gateway.poll() is None
    shown = run_page(blocks("docs/large-payloads.md"), tmp_path, environment)
    assert "kept as numbered.csv" in shown
    assert "99999,row 99999" in shown
    assert shown.count(".sealed") == 2


@pytest.mark.acceptance
@pytest.mark.slow
def test_keys_are_rotated_when_the_runbook_is_followed(
    tmp_path: Path, environment: dict[str, str], gateway: subprocess.Popen[str]
) -> None:
    """Every command of the page: rotated, rewrapped, destroyed, revoked, and believed by the other team."""
    assert gateway.poll() is None
    shown = run_page(blocks("docs/rotate-keys.md"), tmp_path, environment)
    for said in ("destroyed", "revoked", "verified", "keyset 5 published"):
        assert said in shown


@pytest.mark.acceptance
@pytest.mark.slow
def test_root_changes_hands_when_the_ceremony_is_held_as_written(
    tmp_path: Path, environment: dict[str, str], gateway: subprocess.Popen[str]
) -> None:
    """That of a small company: two people, either of whom can sign from then on; the other team pins it."""
    assert gateway.poll() is None
    shown = run_page(blocks("docs/security.md"), tmp_path, environment)
    assert "root version" in shown
    assert "verified" in shown
    assert not (tmp_path / ".isthmus-dev" / "app-team" / "keyring.json.root").exists()


@pytest.mark.acceptance
@pytest.mark.slow
def test_getting_started_works_when_it_is_typed_as_it_stands(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Three roles over TLS, with pins and roots of their own: the page from top to bottom."""
    port = str(free_port())
    page = [
        Block(what=block.what, text=block.text.replace("7443", port))
        for block in blocks("docs/getting-started.md")
    ]
    (service,) = (block for block in blocks("README.md") if block.what == "file payments.py")
    shown = run_page([service, *page], tmp_path, environment)
    assert "Grace paid 9.99" in shown
    assert "allow:payments:data-team/Payments" in shown
    assert "1 passed" in shown


def run_page(page: list[Block], folder: Path, environment: dict[str, str]) -> str:
    """Write the page's files, run its commands in one shell, and return what they print."""
    script = ["trap 'jobs -p | xargs -r kill && wait' EXIT"]
    for block in page:
        if block.what.startswith("file "):
            file = folder / block.what.removeprefix("file ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.what == "run":
            script.append(block.text)
    ran = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(script)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode in {0, 128 + signal.SIGTERM}, ran.stdout + ran.stderr
    return ran.stdout


def test_readme_has_the_two_commands_of_a_fresh_machine() -> None:
    """One runs the main job, one passes the tests; CI runs the second one."""
    readme = (REPOSITORY / "README.md").read_text()
    install = "python3 -m venv .venv && .venv/bin/pip install -e"
    assert f"{install} '.[demo]' && .venv/bin/isthmus demo\n" in readme
    command = f"{install} '.[dev]' && .venv/bin/nox"
    assert f"{command}\n" in readme
    assert command in (REPOSITORY / ".ci" / "run").read_text()
