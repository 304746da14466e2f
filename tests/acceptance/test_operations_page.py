"""Every command of docs/operations.md works when its cause is there: what is copied at night has to."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.causes import FAULTS, brought_about
from tests.acceptance.cli_process import CommandLine
from tests.acceptance.on_call import on_call

from isthmus.v1 import operation_pb2

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BLOCK = re.compile(r"<!-- run for (?P<cause>\w+) -->\n```sh\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = [(match["cause"], match["text"]) for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway with its endpoints."""
    with on_call(tmp_path_factory.mktemp("on-call") / "dev") as command_line:
        yield command_line


@pytest.mark.parametrize(("cause", "block"), BLOCKS, ids=[cause for cause, _ in BLOCKS])
def test_command_of_the_page_works_when_the_cause_is_there(
    isthmus: CommandLine, environment: dict[str, str], cause: str, block: str
) -> None:
    """Whoever is on call copies it from the page, and has no time for one that does not work."""
    with brought_about(isthmus, cause) as waiting:
        variables = {
            "OP": waiting.operation_id,
            "ENDPOINT": waiting.endpoint,
            "ISTHMUS_PROFILE": "data-team",
            "PATH": environment["PATH"],
        }
        copied = subprocess.run(
            ["/bin/bash", "-euc", block],
            env=isthmus.environment | variables,
            cwd=isthmus.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert copied.returncode == 0, copied.stderr
    assert "Traceback" not in copied.stderr


def test_every_cause_has_its_section_when_the_page_is_read() -> None:
    """What the gateway can answer, the page explains."""
    text = PAGE.read_text(encoding="utf-8")
    causes = {name.removeprefix("WAITING_CAUSE_").lower() for name in operation_pb2.WaitingCause.keys()}  # noqa: SIM118
    missing = [cause for cause in causes - {"unspecified"} if cause.replace("_", " ") not in text]
    assert missing == []
    assert {cause for cause, _ in BLOCKS} <= FAULTS.keys()
