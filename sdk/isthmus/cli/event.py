"""``isthmus event``: publish events for other teams, and read those of other teams."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.client.client import Client
    from isthmus.client.published_events import Event

app = typer.Typer(no_args_is_help=True, help="Events that teams publish without being asked.")
_LINE = ("occurred_at", "endpoint", "name", "publisher_namespace", "value")


@app.command()
def publish(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="An endpoint of your namespace.")],
    name: Annotated[str, typer.Argument(help="What happened, for example batch-ready.")],
    *,
    input_: Annotated[
        str | None,
        typer.Option("--input", "-i", help="A file with the value as JSON; - reads stdin.", metavar="FILE"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of the value: name=value. Repeatable.", metavar="NAME=VALUE"),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="Your idempotency key: repeated, the event arrives once.")
    ] = None,
    readers: Annotated[
        list[str] | None,
        typer.Option("--reader", help="Only for this namespace of the allow list. Repeatable."),
    ] = None,
) -> None:
    """Publish an event, sealed for each team of the allow list that you trust. Waits for nobody."""
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.operation_input import read_input

    value = read_input(input_, set_ or [])

    async def work(client: "Client") -> None:
        published = await client.publish_event(endpoint, name, value, id=id_, readers=readers or None)
        output = invocation(ctx).output
        if published.not_trusted:
            output.note(f"Not trusted here, and so not told: {', '.join(published.not_trusted)}")
        output.document(
            {
                "event_id": published.event_id,
                "readers": list(published.readers),
                "not_trusted": list(published.not_trusted),
            }
        )

    run_with_client(ctx, work)


@app.command()
def follow(
    ctx: typer.Context,
    cursor: Annotated[str, typer.Argument(help="Name of the cursor.", metavar="CURSOR")],
    *,
    endpoint: Annotated[str, typer.Option(help="Events of this endpoint only.")] = "",
    beginning: Annotated[
        bool, typer.Option("--beginning", help="A new cursor begins with the first event of all.")
    ] = False,
    count: Annotated[int, typer.Option(min=0, help="Stop after so many events; 0: never.")] = 0,
    wait: Annotated[bool, typer.Option(help="Wait for what comes; else stop when nothing is left.")] = True,
    acknowledge: Annotated[
        bool, typer.Option(help="Acknowledge what was printed, so that it does not come again.")
    ] = True,
) -> None:
    """Print events behind a cursor, which is made when there is none, until Ctrl-C.

    With --output json: one JSON document a line. Each event is verified; one that does not verify is shown
    with its error and without a value.
    """
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.following import follow as follow_feed

    async def work(client: "Client") -> None:
        events = client.events(
            cursor, endpoint=endpoint, begin="beginning" if beginning else "now", follow=wait
        )
        await follow_feed(events, partial(_print_line, ctx), acknowledge=acknowledge, count=count)

    run_with_client(ctx, work)


def _print_line(ctx: typer.Context, event: "Event") -> None:
    from isthmus.cli.output import printable, show

    document = {
        "position": event.position,
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "endpoint": event.endpoint,
        "name": event.name,
        "publisher_namespace": event.publisher_namespace,
        "error": "" if event.error is None else str(event.error),
        "value": None if event.error is not None else event.value,
    }
    output = invocation(ctx).output
    if output.is_json:
        output.json_line(document)
        return
    line = "  ".join(printable(show(document[column])) for column in _LINE)
    typer.echo(f"{line}  {printable(str(document['error']))}" if event.error is not None else line)
