"""docs/gateway.md as it is typed, beside a gateway that serves; and what the commands refuse."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.deployment.deadline import await_that

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
BLOCK = re.compile(r"<!-- run -->\n```sh\n(?P<text>.*?)```", re.DOTALL)
CONFIG = """
trust_domain = "example.internal"
data_dir = "state"
[listen]
address = "127.0.0.1:0"
[[issuers]]
kind = "development"
"""

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]


class Gateway:
    """A gateway of a configuration file, with the data directory that it is given."""

    def __init__(self, folder: Path, environment: dict[str, str], data_dir: str) -> None:
        log = folder / f"{data_dir}.log"
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "isthmus.cli", "gateway", "run"],
                cwd=folder,
                env=environment | {"ISTHMUS_GATEWAY_DATA_DIR": data_dir},
                stderr=file,
            )

        def serves() -> bool:
            assert self.process.poll() is None, log.read_text()
            return '"serving"' in log.read_text()

        await_that(serves, "the gateway serves", seconds=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an operator works: the configuration lies there."""
    (tmp_path / "isthmus.toml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def gateway(folder: Path, environment: dict[str, str]) -> Iterator[Gateway]:
    """A gateway that serves."""
    running = Gateway(folder, environment, "state")
    yield running
    running.process.kill()
    running.process.wait()


def isthmus(folder: Path, environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end, with JSON output."""
    return subprocess.run(
        ["/bin/bash", "-c", shlex.join(["isthmus", "--output", "json", *arguments])],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_commands_work_when_they_are_typed_as_the_page_says(
    folder: Path, environment: dict[str, str], gateway: Gateway
) -> None:
    """Beside a gateway that serves; what was restored serves as well."""
    script = "\n".join(match["text"] for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")))
    ran = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "The configuration is fine." in ran.stdout
    assert ran.stdout.count("nothing to do") >= 2
    assert "A START THAT IS REPEATED WITH THE SAME ID RUNS AGAIN" in ran.stderr
    assert gateway.process.poll() is None
    restored = Gateway(folder, environment, "rehearsal")
    restored.process.terminate()
    assert restored.process.wait(60) == 0


def test_restore_exits_with_five_when_a_gateway_has_the_database_or_one_is_there(
    folder: Path, environment: dict[str, str], gateway: Gateway
) -> None:
    """And with other documented codes when there is no backup, or nothing to back up."""
    assert isthmus(folder, environment, "gateway", "backup", "b").returncode == 0
    assert json.loads(isthmus(folder, environment, "gateway", "check-config").stdout) == []
    refused = isthmus(folder, environment, "gateway", "restore", "b", "--yes")
    assert (refused.returncode, "never overwrites" in refused.stderr) == (5, True)
    for file in (folder / "state").glob("isthmus.db*"):
        if file.suffix != ".lock":
            file.rename(folder / file.name)
    refused = isthmus(folder, environment, "gateway", "restore", "b", "--yes")
    assert (refused.returncode, "another gateway has the database" in refused.stderr) == (5, True)
    gateway.process.kill()
    gateway.process.wait()
    asked = isthmus(folder, environment, "gateway", "restore", "b")
    assert (asked.returncode, (folder / "state" / "isthmus.db").exists()) == (1, False)
    restored = isthmus(folder, environment, "gateway", "restore", "b", "--yes")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["files"] == ["isthmus.db", "statement-key.pem"]
    assert isthmus(folder, environment, "gateway", "restore", "nothing", "--yes").returncode == 4
    assert isthmus(folder, environment, "gateway", "backup", "b").returncode == 5
    elsewhere = environment | {"ISTHMUS_GATEWAY_DATA_DIR": "nowhere"}
    assert isthmus(folder, elsewhere, "gateway", "backup", "c").returncode == 4
