"""Never stuck in silence: each cause that the gateway can name is brought about and read back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.causes import FAULTS, UNREACHABLE, brought_about
from tests.acceptance.cli_process import CommandLine
from tests.acceptance.on_call import on_call

from isthmus.gateway.core.waiting import WaitingCause
from isthmus.v1 import operation_pb2

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

COMMANDS = Path(__file__).parents[2] / "gateway" / "isthmus" / "gateway" / "commands"
NAMES = {
    value.name.removeprefix("WAITING_CAUSE_").lower(): value.number
    for value in operation_pb2.WaitingCause.DESCRIPTOR.values
    if value.number
}


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway with its endpoints."""
    with on_call(tmp_path_factory.mktemp("causes") / "dev") as command_line:
        yield command_line


@pytest.mark.parametrize("cause", FAULTS)
def test_one_cause_is_named_when_it_is_brought_about(isthmus: CommandLine, cause: str) -> None:
    """Both teams read the same, in `why` and in `describe`; the endpoint's owner counts it once."""
    with brought_about(isthmus, cause) as waiting:
        shown = isthmus("operation", "describe", waiting.operation_id, profile="app-team").json
        assert (shown["waiting"], shown["closed_at"]) == (cause, None)
        assert waiting.words in shown["waiting_reason"]
        described = isthmus("endpoint", "describe", waiting.endpoint, profile="app-team").json
        assert described["waiting"].get(cause) == 1
        assert sum(described["waiting"].values()) == described["open_operations"]


def test_every_cause_has_a_fault_when_the_contract_is_read() -> None:
    """A cause that is added has to be shown, or it cannot be said to be told."""
    assert NAMES.keys() == {cause.value for cause in WaitingCause}
    assert NAMES.keys() == FAULTS.keys() | UNREACHABLE.keys()
    assert not FAULTS.keys() & UNREACHABLE.keys()


@pytest.mark.parametrize("state", UNREACHABLE.values())
def test_no_command_leads_into_a_state_when_its_cause_has_no_fault(state: str) -> None:
    """Whoever lets requests or outcomes be held back finds here that their causes have to be shown."""
    leads = {"HELD": r"state=State\.HELD", "REVIEW": r"\bheld="}[state]
    found = [path.name for path in COMMANDS.glob("*.py") if re.search(leads, path.read_text("utf-8"))]
    assert found == []
