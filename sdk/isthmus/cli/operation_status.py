"""``isthmus operation status``: where many operations are, in one call."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.client.client import Client
    from isthmus.client.statuses import OperationStatus

_COLUMNS = ("operation_id", "status", "state", "attested", "error")
_DOUBTFUL = {"unproven", "unverified"}


def status(
    ctx: typer.Context,
    operation_ids: Annotated[
        list[str], typer.Argument(help="op-…, any number; - reads them from standard input.", metavar="OP…")
    ],
) -> None:
    """Say where many operations of your namespace are. What ended is verified; results are not fetched.

    Exits with 7 while one of them runs, and with 8 if an ending is not proven.
    """
    from isthmus.cli.client_session import run_with_client

    asked = [line for name in operation_ids for line in (sys.stdin.read().split() if name == "-" else [name])]
    if not asked:
        raise CliError("no operation id was given")

    async def work(client: "Client") -> "list[OperationStatus]":
        return await client.get_operation_statuses(asked)

    found = run_with_client(ctx, work)
    invocation(ctx).output.rows([_document(entry) for entry in found], _COLUMNS)
    if any(entry.status in _DOUBTFUL for entry in found):
        raise typer.Exit(ExitCode.UNPROVEN)
    if any(entry.status == "running" for entry in found):
        raise typer.Exit(ExitCode.STILL_RUNNING)


def _document(entry: "OperationStatus") -> dict[str, Any]:
    return {
        "operation_id": entry.operation_id,
        "status": entry.status,
        "state": entry.state,
        "attested": entry.attested,
        "error": "" if entry.error is None else str(entry.error),
    }
