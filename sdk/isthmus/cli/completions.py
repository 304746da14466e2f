"""``isthmus completions``: what ended of the operations that a namespace called."""

from enum import StrEnum, unique
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.client.client import Client
    from isthmus.client.feed import Completion

app = typer.Typer(
    no_args_is_help=True,
    help="Completions: what ended of the operations that your namespace called, for consumers with a cursor.",
)
COLUMNS = ("name", "endpoint", "kinds", "position", "behind", "acknowledged_at")
_LINE = ("occurred_at", "status", "route", "operation_id", "state")
CursorName = Annotated[str, typer.Argument(help="Name of the cursor.", metavar="CURSOR")]


@unique
class Status(StrEnum):
    """How an operation ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@app.command()
def follow(
    ctx: typer.Context,
    cursor: CursorName,
    *,
    endpoint: Annotated[str, typer.Option(help="Completions of this endpoint only.")] = "",
    statuses: Annotated[
        list[Status] | None, typer.Option("--status", help="Completions of this status only. Repeatable.")
    ] = None,
    beginning: Annotated[
        bool, typer.Option("--beginning", help="A new cursor begins with the first completion of all.")
    ] = False,
    count: Annotated[int, typer.Option(min=0, help="Stop after so many completions; 0: never.")] = 0,
    wait: Annotated[bool, typer.Option(help="Wait for what comes; else stop when nothing is left.")] = True,
    acknowledge: Annotated[
        bool, typer.Option(help="Acknowledge what was printed, so that it does not come again.")
    ] = True,
) -> None:
    """Print completions behind a cursor, which is made when there is none, until Ctrl-C.

    With --output json: one JSON document a line. A completion is acknowledged after it was printed.
    """
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.following import follow as follow_feed

    async def work(client: "Client") -> None:
        completions = client.completions(
            cursor,
            endpoint=endpoint,
            statuses=[status.value for status in statuses or ()],
            begin="beginning" if beginning else "now",
            follow=wait,
        )
        await follow_feed(completions, partial(_print_line, ctx), acknowledge=acknowledge, count=count)

    run_with_client(ctx, work)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Show the cursors of your namespace, and how far each is behind the end of the log."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.resource import document_of
    from isthmus.v1 import feed_service_pb2, feed_service_pb2_grpc

    with open_connection(ctx) as gateway:
        response = gateway.call(
            feed_service_pb2_grpc.FeedServiceStub, "ListCursors", feed_service_pb2.ListCursorsRequest()
        )
    found: list[dict[str, Any]] = [
        document_of(cursor) | {"behind": response.last_position - cursor.position}
        for cursor in response.cursors
    ]
    invocation(ctx).output.rows(found, COLUMNS, empty="No cursors.")


@app.command()
def delete(ctx: typer.Context, cursor: CursorName) -> None:
    """Forget a cursor."""
    from isthmus.cli.connection import open_connection
    from isthmus.v1 import feed_service_pb2, feed_service_pb2_grpc

    request = feed_service_pb2.DeleteCursorRequest(name=cursor)
    with open_connection(ctx) as gateway:
        gateway.call(feed_service_pb2_grpc.FeedServiceStub, "DeleteCursor", request)
    invocation(ctx).output.note(f"The cursor {cursor} is gone.")


def _print_line(ctx: typer.Context, completion: "Completion") -> None:
    from isthmus.cli.output import plain, printable, show

    document = plain(completion)
    if not isinstance(document, dict):
        raise TypeError
    output = invocation(ctx).output
    if output.is_json:
        output.json_line(document)
        return
    route = f"{completion.endpoint}/{completion.service}/{completion.operation}"
    row = document | {"route": route}
    typer.echo("  ".join(printable(show(row[column])) for column in _LINE))
