"""``isthmus audit``: who called what, what was decided by which rule, and how it ended."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.v1 import audit_service_pb2

app = typer.Typer(no_args_is_help=True, help="The audit log: what your namespace took part in.")

Namespace = Annotated[
    str, typer.Option(help="Events in which it was caller, handler or actor. Platform only.")
]
Endpoint = Annotated[str, typer.Option(help="Events about this endpoint.")]
Operation = Annotated[str, typer.Option(help="Events about this operation, op-…", metavar="OP")]
Since = Annotated[str, typer.Option(help="Not before: 1h (ago), or 2026-11-22T10:00 (UTC).", metavar="TIME")]
Until = Annotated[str, typer.Option(help="Before: as --since.", metavar="TIME")]
Type = Annotated[
    list[str] | None,
    typer.Option(
        "--type", help="Only these events, for example operation_ended. Repeatable.", metavar="EVENT"
    ),
]


@app.command()
def query(
    ctx: typer.Context,
    *,
    namespace: Namespace = "",
    endpoint: Endpoint = "",
    operation: Operation = "",
    since: Since = "",
    until: Until = "",
    types: Type = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many, the oldest first.")] = 1000,
) -> None:
    """Show events, oldest first."""
    from isthmus.cli.audit_view import COLUMNS, audit_row, describe_record
    from isthmus.cli.connection import open_connection
    from isthmus.v1 import audit_service_pb2, audit_service_pb2_grpc

    request = audit_service_pb2.QueryAuditEventsRequest(
        filter=_filter(
            namespace=namespace, endpoint=endpoint, operation=operation, since=since, until=until, types=types
        ),
        page_size=min(limit, 1000),
    )
    found: list[dict[str, Any]] = []
    output = invocation(ctx).output
    with open_connection(ctx) as gateway:
        while len(found) < limit:
            page = gateway.call(audit_service_pb2_grpc.AuditServiceStub, "QueryAuditEvents", request)
            found += [describe_record(record) for record in page.records]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        else:
            output.note(f"There may be more: shown are the first {limit}; see --limit, --since and --until.")
    del found[limit:]
    if output.is_json:
        output.json(found)
    else:
        output.rows([audit_row(document) for document in found], COLUMNS, empty="No such events.")


@app.command()
def tail(
    ctx: typer.Context,
    *,
    namespace: Namespace = "",
    endpoint: Endpoint = "",
    operation: Operation = "",
    types: Type = None,
    last: Annotated[int, typer.Option("--last", "-n", min=0, max=1000, help="Begin with past events.")] = 20,
    count: Annotated[int, typer.Option(min=0, help="Stop after so many events; 0: never.")] = 0,
) -> None:
    """Follow the log until Ctrl-C. With --output json: one JSON document a line."""
    from isthmus.cli.audit_view import describe_record
    from isthmus.cli.connection import open_connection
    from isthmus.v1 import audit_service_pb2, audit_service_pb2_grpc

    request = audit_service_pb2.TailAuditEventsRequest(
        filter=_filter(
            namespace=namespace, endpoint=endpoint, operation=operation, since="", until="", types=types
        ),
        last=last,
    )
    seen = 0
    with open_connection(ctx) as gateway:
        for frame in gateway.stream(audit_service_pb2_grpc.AuditServiceStub, "TailAuditEvents", request):
            for record in frame.records:
                _print_line(ctx, describe_record(record))
                seen += 1
                if seen == count:
                    return


def _print_line(ctx: typer.Context, document: dict[str, Any]) -> None:
    from isthmus.cli.audit_view import COLUMNS, audit_row
    from isthmus.cli.output import printable, show

    output = invocation(ctx).output
    if output.is_json:
        output.json_line(document)
        return
    row = audit_row(document)
    typer.echo("  ".join(printable(show(row[column])) for column in COLUMNS if row[column]))


def _filter(
    *, namespace: str, endpoint: str, operation: str, since: str, until: str, types: list[str] | None
) -> "audit_service_pb2.AuditFilter":
    from isthmus.cli.moment import parse_moment
    from isthmus.v1 import audit_service_pb2
    from isthmus.wire.names import parse_operation_id

    now = datetime.now(tz=UTC)
    chosen = audit_service_pb2.AuditFilter(
        namespace=namespace,
        endpoint=endpoint,
        operation_id=parse_operation_id(operation) if operation else b"",
        types=[name.replace("-", "_") for name in types or ()],
    )
    if since:
        chosen.since.FromDatetime(parse_moment(since, now=now))
    if until:
        chosen.until.FromDatetime(parse_moment(until, now=now))
    return chosen
