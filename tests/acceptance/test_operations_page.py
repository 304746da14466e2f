"""Every command of docs/operations.md works when its cause is there: what is copied at night has to."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.acceptance.cli_process import CommandLine
from tests.acceptance.on_call import on_call, start, why, worker

from isthmus.v1 import operation_pb2

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BLOCK = re.compile(r"<!-- run for (?P<cause>\w+) -->\n```sh\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = [(match["cause"], match["text"]) for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]
# How each cause comes about: on which endpoint, by which operation, and how its queue is served.
FAULTS: dict[str, tuple[str, str, tuple[str, ...] | None]] = {
    "no_poller": ("patient", "slow", None),
    "backoff": ("patient", "flaky", ()),
    "rejected": ("strict", "slow", ("--endpoint", "another")),
    "running": ("patient", "slow", ()),
    "handler_async": ("patient", "later", ()),
    "parked": ("batches", "flaky", ()),
    "circuit_open": ("brittle", "flaky", ()),
}


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway with its endpoints."""
    with on_call(tmp_path_factory.mktemp("on-call") / "dev") as command_line:
        yield command_line


@pytest.mark.parametrize(("cause", "block"), BLOCKS, ids=[cause for cause, _ in BLOCKS])
def test_command_of_the_page_works_when_the_cause_is_there(
    isthmus: CommandLine, cause: str, block: str
) -> None:
    """Whoever is on call copies it from the page, and has no time for one that does not work."""
    (isthmus.directory / "mended").unlink(missing_ok=True)
    endpoint, operation, options = FAULTS[cause]
    operation_id = start(isthmus, endpoint, operation)
    serving = nullcontext() if options is None else worker(isthmus, endpoint, *options)
    with serving:
        why(isthmus, operation_id, cause)
        path = f"{Path(sys.executable).parent}:{isthmus.environment['PATH']}"
        variables = {"OP": operation_id, "ENDPOINT": endpoint, "ISTHMUS_PROFILE": "data-team", "PATH": path}
        copied = subprocess.run(
            ["/bin/bash", "-euc", block],
            env=isthmus.environment | variables,
            cwd=isthmus.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        # What still runs would run again at the next test's worker.
        isthmus("operation", "terminate", operation_id, "--reason", "the end", "--yes", profile="app-team")
    assert copied.returncode == 0, copied.stderr
    assert "Traceback" not in copied.stderr


def test_every_cause_has_its_section_when_the_page_is_read() -> None:
    """What the gateway can answer, the page explains."""
    text = PAGE.read_text(encoding="utf-8")
    causes = {name.removeprefix("WAITING_CAUSE_").lower() for name in operation_pb2.WaitingCause.keys()}  # noqa: SIM118
    missing = [cause for cause in causes - {"unspecified"} if cause.replace("_", " ") not in text]
    assert missing == []
    assert {cause for cause, _ in BLOCKS} == set(FAULTS)
