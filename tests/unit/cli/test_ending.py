"""What whoever called an operation reads when it did not succeed."""

import nexusrpc
import pytest

from isthmus.cli.ending import print_ending
from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.output import Output, OutputFormat
from isthmus.client.errors import AttestedHandlerError, AttestedOperationError, OperationCanceledError

OPERATION = "op-aaaaaaaaaaaaaaaaaaaaaaaaaa"
STATES = nexusrpc.OperationErrorState


async def ends_with(error: Exception) -> None:
    """An operation that does."""
    raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AttestedOperationError("no", state=STATES.CANCELED), f"{OPERATION} canceled: no"),
        (AttestedOperationError("no credit", state=STATES.FAILED), f"{OPERATION} failed: no credit"),
        (
            AttestedHandlerError("bad", type=nexusrpc.HandlerErrorType.BAD_REQUEST),
            f"{OPERATION} failed: bad",
        ),
        (OperationCanceledError(OPERATION), str(OperationCanceledError(OPERATION))),
    ],
)
async def test_operation_and_state_are_named_when_it_did_not_succeed(error: Exception, said: str) -> None:
    """A handler may say as little as "no"; what follows is looked up by the operation's id."""
    with pytest.raises(CliError) as ended:
        await print_ending(ends_with(error), operation_id=OPERATION, output=Output(OutputFormat.TABLE))
    assert (str(ended.value), ended.value.code) == (said, ExitCode.FAILED)
