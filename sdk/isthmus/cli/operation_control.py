"""``isthmus operation redrive`` and ``terminate``: what the owner of an endpoint does about operations."""

from typing import Annotated, Any

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation

_PAGE = 100
Caller = Annotated[str, typer.Option(help="Who started it, if several callers use its id.", metavar="NS")]


def redrive(
    ctx: typer.Context,
    operation_id: Annotated[str, typer.Argument(help="op-…", metavar="[OP]", show_default=False)] = "",
    endpoint: Annotated[str, typer.Option(help="All parked operations of this endpoint.")] = "",
    caller: Annotated[
        str, typer.Option(help="Only those that this namespace started.", metavar="NS", show_default=False)
    ] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="With --endpoint: so many at most, the oldest first; 0: all.")
    ] = 0,
) -> None:
    """Give parked operations of your endpoints new attempts, when what stopped them is mended."""
    if bool(operation_id) == bool(endpoint):
        raise CliError("give either an operation or --endpoint")
    if endpoint:
        _redrive_endpoint(ctx, endpoint, caller, limit)
    else:
        _redrive_one(ctx, operation_id, caller)


def terminate(
    ctx: typer.Context,
    operation_id: Annotated[str, typer.Argument(help="op-…", metavar="OP")],
    reason: Annotated[
        str, typer.Option(help="Why; both teams read it in the audit log.", show_default=False)
    ],
    caller: Caller = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End an operation of your endpoint by force. Its caller gets no result, and no proof of the end."""
    from isthmus.cli.operation_document import operation_document
    from isthmus.cli.why import why
    from isthmus.v1 import operation_service_pb2
    from isthmus.wire.names import parse_operation_id

    request = operation_service_pb2.TerminateOperationRequest(
        caller_namespace=caller, operation_id=parse_operation_id(operation_id), reason=reason
    )
    if not yes:
        typer.confirm(f"End {operation_id} by force, for good?", abort=True, err=True)
    response = _call(ctx, "TerminateOperation", request)
    document = operation_document(response.operation)
    output = invocation(ctx).output
    output.note(f"{'' if response.terminated else 'It had been terminated before: '}{why(document)}")
    if output.is_json:
        output.json({"terminated": response.terminated, "operation": document})


def _redrive_one(ctx: typer.Context, operation_id: str, caller: str) -> None:
    from isthmus.cli.operation_document import operation_document
    from isthmus.cli.why import why
    from isthmus.v1 import operation_service_pb2
    from isthmus.wire.names import parse_operation_id

    request = operation_service_pb2.RedriveOperationRequest(
        caller_namespace=caller, operation_id=parse_operation_id(operation_id)
    )
    response = _call(ctx, "RedriveOperation", request)
    document = operation_document(response.operation)
    output = invocation(ctx).output
    output.note(f"{'Redriven' if response.redriven else 'It had been redriven before'}: {why(document)}")
    if output.is_json:
        output.json({"redriven": int(response.redriven), "operations": [document["operation_id"]]})


def _redrive_endpoint(ctx: typer.Context, endpoint: str, caller: str, limit: int) -> None:
    from isthmus.v1 import operation_service_pb2
    from isthmus.wire.names import format_operation_id

    output = invocation(ctx).output
    redriven: list[str] = []
    request = operation_service_pb2.RedriveOperationsRequest(endpoint=endpoint, caller_namespace=caller)
    while True:
        request.page_size = min(_PAGE, limit - len(redriven)) if limit else _PAGE
        page = _call(ctx, "RedriveOperations", request)
        redriven += [format_operation_id(operation.operation_id) for operation in page.operations]
        is_last = not page.next_page_token or (limit and len(redriven) >= limit)
        if page.operations and not is_last:
            output.note(f"{len(redriven)} redriven so far …")
        if is_last:
            break
        request.page_token = page.next_page_token
    noun = "operation" if len(redriven) == 1 else "operations"
    output.note(f"{len(redriven) or 'No parked'} {noun} of endpoint {endpoint} redriven.")
    if output.is_json:
        output.json({"redriven": len(redriven), "operations": redriven})


def _call(ctx: typer.Context, method: str, request: object) -> Any:  # noqa: ANN401 - the method's response
    from isthmus.cli.connection import open_connection
    from isthmus.v1 import operation_service_pb2_grpc

    with open_connection(ctx) as gateway:
        return gateway.call(operation_service_pb2_grpc.OperationServiceStub, method, request)
