"""What a batch exits with."""

import pytest

from isthmus.cli.batch import exit_code_of
from isthmus.cli.exit_code import ExitCode

OK, FAILED, DENIED = ExitCode.OK, ExitCode.FAILED, ExitCode.DENIED
UNAVAILABLE, RUNNING, UNPROVEN = ExitCode.UNAVAILABLE, ExitCode.STILL_RUNNING, ExitCode.UNPROVEN


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([OK, OK], OK),
        ([OK, FAILED, FAILED], FAILED),
        ([DENIED, DENIED], DENIED),
        ([OK, RUNNING], RUNNING),
        ([FAILED, RUNNING], FAILED),
        ([DENIED, FAILED], FAILED),
        ([UNAVAILABLE, RUNNING], RUNNING),
        ([UNAVAILABLE, OK], UNAVAILABLE),
        ([FAILED, UNPROVEN, RUNNING], UNPROVEN),
    ],
)
def test_exit_code_is_the_common_one_or_the_gravest_when_requests_do_not_succeed(
    codes: list[ExitCode], expected: ExitCode
) -> None:
    """A script that tells the codes of a call apart tells those of a batch apart, too."""
    assert exit_code_of(codes) is expected
