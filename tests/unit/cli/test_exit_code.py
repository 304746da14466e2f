"""Which error means which exit code."""

import re
from pathlib import Path

import nexusrpc
import pytest

from isthmus.cli.exit_code import MEANINGS, CliError, ExitCode, classify
from isthmus.client import errors
from isthmus.demo.dataset import DatasetError
from isthmus.keys.errors import KeyFileExistsError, KeyringError, TrustError

OUTCOMES = Path(__file__).resolve().parents[3] / "docs" / "outcomes.md"
CODES: list[tuple[BaseException, ExitCode]] = [
    (CliError("no"), ExitCode.USAGE),
    (CliError("no", code=ExitCode.NOT_FOUND), ExitCode.NOT_FOUND),
    (errors.ConfigurationError("no"), ExitCode.USAGE),
    (errors.PayloadTooLargeError("no"), ExitCode.USAGE),
    (errors.UnauthenticatedError("no"), ExitCode.DENIED),
    (errors.PermissionDeniedError("no"), ExitCode.DENIED),
    (errors.NotFoundError("no"), ExitCode.NOT_FOUND),
    (errors.AlreadyExistsError("no"), ExitCode.CONFLICT),
    (errors.ConflictError("no"), ExitCode.CONFLICT),
    (errors.ConnectionLostError("no"), ExitCode.UNAVAILABLE),
    (errors.DeadlineExceededError("no"), ExitCode.UNAVAILABLE),
    (errors.DeadlineExceededError("no").of_operation(), ExitCode.STILL_RUNNING),
    (errors.GatewayInternalError("no"), ExitCode.FAILED),
    (errors.UnprovenOutcomeError("op-x", "denied"), ExitCode.UNPROVEN),
    (errors.UnverifiedAnswerError("op-x", "the result"), ExitCode.UNPROVEN),
    (errors.OperationTimedOutError("op-x", "start_to_close"), ExitCode.FAILED),
    (errors.OperationCanceledError("op-x"), ExitCode.FAILED),
    (nexusrpc.HandlerError("no", type=nexusrpc.HandlerErrorType.NOT_FOUND), ExitCode.FAILED),
    (nexusrpc.OperationError("no", state=nexusrpc.OperationErrorState.FAILED), ExitCode.FAILED),
    (KeyringError("no"), ExitCode.USAGE),
    (KeyFileExistsError(Path("there")), ExitCode.CONFLICT),
    (TrustError("no"), ExitCode.USAGE),
    (DatasetError("no"), ExitCode.USAGE),
    (PermissionError("no"), ExitCode.FAILED),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda value: type(value).__name__)
def test_error_has_its_code_when_it_is_expected(error: BaseException, code: ExitCode) -> None:
    """Scripts rely on these."""
    assert classify(error) is code


def test_error_has_no_code_when_nobody_foresaw_it() -> None:
    """Nor has a stranger's class of the same name."""
    stranger = type("NotFoundError", (Exception,), {"__module__": "somewhere"})
    assert classify(ZeroDivisionError()) is None
    assert classify(stranger()) is None


def test_every_code_is_explained_when_help_is_shown() -> None:
    """Help lists the meanings."""
    assert set(MEANINGS) == set(ExitCode)


def test_page_lists_every_exit_code_when_a_script_relies_on_them() -> None:
    """The same words as at the end of ``isthmus --help``, in the same order."""
    _, _, section = OUTCOMES.read_text(encoding="utf-8").partition("\n## Exit codes of the command line\n")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", section, re.MULTILINE)
    assert rows == [(str(code.value), meaning) for code, meaning in MEANINGS.items()]
