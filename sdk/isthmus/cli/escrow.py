"""``isthmus escrow``: whether a team that reads along can read, and what."""

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.exit_code import ExitCode
from isthmus.cli.invocation import invocation
from isthmus.cli.moment import moment_of

if TYPE_CHECKING:
    from isthmus.client.client import Client
    from isthmus.client.reading_along import ReadAlong

app = typer.Typer(
    no_args_is_help=True,
    help="For a team that reads along, because the owner of an endpoint signed that it does.",
)
COLUMNS = ("place", "direction", "endpoint", "from", "to", "sent_at", "problem")


@app.command()
def check(
    ctx: typer.Context,
    endpoint: Annotated[str | None, typer.Option(help="Only messages of this endpoint.")] = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="List those that open as well, with their places.")
    ] = False,
) -> None:
    """Open everything that the gateway keeps for your team to read along, and list what does not open.

    Nobody can verify a wrap for somebody else: what nobody ever tried to open may not open on the day that it
    is needed. Needs pins of the teams whose messages these are (`isthmus trust add`). Shows no payloads.

    Exits with 1 when something does not open.
    """
    from isthmus.cli.client_session import run_with_client
    from isthmus.client.reading_along import messages_of_others

    output = invocation(ctx).output
    counts: Counter[bool] = Counter()
    rows: list[dict[str, object]] = []

    async def work(client: "Client") -> None:
        async for found in messages_of_others(client):
            if endpoint is not None and found.header is not None and found.header.endpoint != endpoint:
                continue
            counts[not found.problem] += 1
            if found.problem or every:
                rows.append(_row(found))
            if counts.total() % 1000 == 0:
                output.note(f"{counts.total()} messages so far, {counts[False]} of them do not open.")

    run_with_client(ctx, work)
    if output.is_json:
        output.json({"opened": counts[True], "not_opened": counts[False], "messages": rows})
    else:
        if rows:
            output.rows(rows, COLUMNS)
        output.note(f"{counts[True]} messages open, {counts[False]} do not.")
    if counts[False]:
        raise typer.Exit(ExitCode.FAILED)


@app.command("open")
def open_(
    ctx: typer.Context,
    place: Annotated[str, typer.Argument(help="As `isthmus escrow check --all` lists it.")],
) -> None:
    """Write the payload of one message to standard output, as its sender sealed it, byte by byte."""
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.exit_code import CliError
    from isthmus.client.reading_along import message_of_others

    output = invocation(ctx).output

    async def work(client: "Client") -> "ReadAlong":
        return await message_of_others(client, place)

    found = run_with_client(ctx, work)
    if found.payload is None:
        raise CliError(f"{place}: {found.problem}", code=ExitCode.FAILED)
    row = _row(found)
    output.note(
        f"{row['direction']} of {row['endpoint']}, from {row['from']} to {row['to']}, {row['sent_at']},"
        f" {found.payload.content_type or 'no content type'}"
    )
    sys.stdout.buffer.write(found.payload.data)
    sys.stdout.buffer.flush()


def _row(found: "ReadAlong") -> dict[str, object]:
    header = found.header
    if header is None:
        return {**dict.fromkeys(COLUMNS, ""), "place": found.place, "problem": found.problem}
    return {
        "place": found.place,
        "direction": header.direction.name.lower(),
        "endpoint": header.endpoint,
        "from": header.sender_namespace,
        "to": header.recipient_namespace,
        "sent_at": moment_of(header.issued_at_ms),
        "problem": found.problem,
    }
