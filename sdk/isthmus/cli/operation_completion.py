"""``isthmus operation complete`` and ``fail``: end an operation whose handler left it running."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from isthmus.client.client import Client

OperationId = Annotated[
    str, typer.Argument(help="op-…; or give --token.", metavar="[OP]", show_default=False)
]
Caller = Annotated[
    str, typer.Option(help="Who started it; needed with OP.", metavar="NS", show_default=False)
]
Token = Annotated[
    str | None,
    typer.Option(
        help="A file with the operation token that the handler returned; - reads stdin.", metavar="FILE"
    ),
]


def complete(
    ctx: typer.Context,
    operation_id: OperationId = "",
    *,
    caller: Caller = "",
    token: Token = None,
    result: Annotated[
        str | None,
        typer.Option("--result", "-r", help="A file with the result as JSON; - reads stdin.", metavar="FILE"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A field of the result: name=value, JSON or text. Repeatable.", metavar="NAME=VALUE"
        ),
    ] = None,
) -> None:
    """End an operation that your namespace handles with a result, sealed for whoever started it."""
    from isthmus.cli.operation_input import read_input
    from isthmus.worker import complete as complete_operation

    if result == token == "-":
        raise CliError("stdin is either the result or the token")
    data = _read_token(operation_id, caller, token)
    value = read_input(result, set_ or [])

    async def work(client: "Client") -> None:
        await complete_operation(
            client, operation_id or None, token=data, caller_namespace=caller or None, result=value
        )

    _end(ctx, work, "succeeded", operation_id)


def fail(
    ctx: typer.Context,
    operation_id: OperationId = "",
    *,
    message: Annotated[str, typer.Option("--message", "-m", help="Why; its caller reads it.")],
    caller: Caller = "",
    token: Token = None,
    canceled: Annotated[bool, typer.Option("--canceled", help="It ends canceled, not failed.")] = False,
) -> None:
    """End an operation that your namespace handles as failed or canceled, sealed for whoever started it."""
    import nexusrpc

    from isthmus.worker import complete as complete_operation

    data = _read_token(operation_id, caller, token)
    states = nexusrpc.OperationErrorState
    error = nexusrpc.OperationError(message, state=states.CANCELED if canceled else states.FAILED)

    async def work(client: "Client") -> None:
        await complete_operation(
            client, operation_id or None, token=data, caller_namespace=caller or None, error=error
        )

    _end(ctx, work, "canceled" if canceled else "failed", operation_id)


def _end(
    ctx: typer.Context,
    work: "Callable[[Client], Coroutine[Any, Any, None]]",
    state: str,
    operation_id: str,
) -> None:
    from isthmus.cli.client_session import run_with_client

    run_with_client(ctx, work)
    output = invocation(ctx).output
    output.note(f"{operation_id or 'The operation with this token'} has ended: {state}.")
    if output.is_json:
        output.json({"operation_id": operation_id or None, "state": state})


def _read_token(operation_id: str, caller: str, source: str | None) -> str | None:
    """Return the token, if one is given. Raises CliError when the operation is not named in one way."""
    from isthmus.wire.limits import MAX_OPERATION_TOKEN_BYTES

    if bool(operation_id) == (source is not None):
        raise CliError("give either an operation or --token")
    if source is None:
        if not caller:
            raise CliError("an operation needs --caller: its id means something within that namespace only")
        return None
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_OPERATION_TOKEN_BYTES + 2)
        else:
            with Path(source).open("rb") as stream:
                data = stream.read(MAX_OPERATION_TOKEN_BYTES + 2)
        token = data.decode()
    except OSError as error:
        raise CliError(f"cannot read the token {source}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise CliError("the token is not UTF-8") from None
    # What a shell wrote there ends with a line break.
    token = token.removesuffix("\n")
    if not 0 < len(token.encode()) <= MAX_OPERATION_TOKEN_BYTES:
        raise CliError(f"a token is 1 to {MAX_OPERATION_TOKEN_BYTES} bytes")
    return token
