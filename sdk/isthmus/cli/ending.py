"""Prints how an operation ended."""

from collections.abc import Awaitable
from typing import Any

import nexusrpc

from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.output import Output
from isthmus.client.errors import UnprovenOutcomeError


async def print_ending(result: Awaitable[Any], *, operation_id: str, output: Output) -> None:
    """Print the result, or tell programs on stdout how else it ended.

    Raises:
        CliError: it did not succeed, and that is proven. UnprovenOutcomeError: it is not.
    """
    try:
        value = await result
    except (nexusrpc.OperationError, nexusrpc.HandlerError) as error:
        if output.is_json:
            output.json(
                {
                    "operation_id": operation_id,
                    "state": state_of(error),
                    "attested": bool(getattr(error, "attested", False)),
                    "error": {"type": type(error).__name__, "message": str(error)},
                }
            )
        message = str(error)
        # A handler's words may be as few as "no"; those of the SDK say of which operation they are.
        said = message if operation_id in message else f"{operation_id} {state_of(error)}: {message}"
        raise CliError(said, code=ExitCode.FAILED) from error
    except UnprovenOutcomeError as error:
        if output.is_json:
            output.json(
                {
                    "operation_id": operation_id,
                    "state": "unproven",
                    "attested": False,
                    "error": {"type": type(error).__name__, "message": str(error), "kind": error.kind},
                }
            )
        raise
    if output.is_json:
        output.json({"operation_id": operation_id, "state": "succeeded", "attested": True, "result": value})
    else:
        output.json(value)


def state_of(error: nexusrpc.OperationError | nexusrpc.HandlerError) -> str:
    """Return the state in which an operation is that ended with this error."""
    return error.state.value if isinstance(error, nexusrpc.OperationError) else "failed"
