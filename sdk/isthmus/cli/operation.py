"""``isthmus operation``: operations that exist."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation
from isthmus.cli.moment import parse_duration
from isthmus.cli.operation_completion import complete, fail
from isthmus.cli.operation_control import redrive, terminate
from isthmus.cli.operation_status import status

if TYPE_CHECKING:
    from isthmus.client.client import Client
    from isthmus.client.handle import OperationHandle

app = typer.Typer(no_args_is_help=True, help="Operations: why they wait; await, cancel, redrive, end them.")
COLUMNS = (
    "operation_id",
    "state",
    "waiting",
    "route",
    "caller_namespace",
    "attempt",
    "scheduled_at",
    "closed_at",
)
_ROLES = {"caller": 1, "handler": 2}
Caller = Annotated[str, typer.Option(help="Who started it, if several callers use its id.", metavar="NS")]
OperationId = Annotated[str, typer.Argument(help="op-…", metavar="OP")]


@app.command("list")
def list_(
    ctx: typer.Context,
    role: Annotated[
        str,
        typer.Option(
            help="Operations that your namespace started, or that it serves.", metavar="caller|handler"
        ),
    ] = "caller",
    endpoint: Annotated[str, typer.Option(help="Only this endpoint.")] = "",
    state: Annotated[list[str] | None, typer.Option(help="Only this state. Repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many, the newest first.")] = 50,
) -> None:
    """List operations, newest first."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.operation_document import operation_document
    from isthmus.v1 import operation_service_pb2, operation_service_pb2_grpc

    if role not in _ROLES:
        raise CliError(f"--role is caller or handler, not {role!r}")
    request = operation_service_pb2.ListOperationsRequest(
        role=_ROLES[role],  # type: ignore[arg-type]
        endpoint=endpoint,
        states=[_state_number(name) for name in state or ()],  # type: ignore[misc]
        page_size=min(limit, 1000),
    )
    found: list[dict[str, Any]] = []
    with open_connection(ctx) as gateway:
        while len(found) < limit:
            page = gateway.call(operation_service_pb2_grpc.OperationServiceStub, "ListOperations", request)
            found += [operation_document(operation) for operation in page.operations]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    invocation(ctx).output.rows(found[:limit], COLUMNS, empty="No such operations.")


@app.command()
def describe(ctx: typer.Context, operation_id: OperationId, caller: Caller = "") -> None:
    """Show where an operation is in its life, and what it waits for. The gateway's word, not a proof."""
    invocation(ctx).output.document(_get(ctx, operation_id, caller))


@app.command()
def why(ctx: typer.Context, operation_id: OperationId, caller: Caller = "") -> None:
    """Say in one sentence what an operation waits for, since when and what ends that, or how it ended."""
    from isthmus.cli.why import why_document

    document = why_document(_get(ctx, operation_id, caller))
    output = invocation(ctx).output
    if output.is_json:
        output.json(document)
    else:
        typer.echo(document["sentence"])


@app.command()
def wait(
    ctx: typer.Context,
    operation_id: OperationId,
    timeout: Annotated[
        str | None, typer.Option(help="Wait at most so long; the operation goes on.", metavar="TIME")
    ] = None,
) -> None:
    """Wait for the result of an operation that your namespace started; it is verified like the first time."""
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.ending import print_ending
    from isthmus.cli.waiting import wait_for_result

    waiting = None if timeout is None else parse_duration(timeout)

    async def work(client: "Client") -> None:
        handle: OperationHandle[Any] = client.get_operation_handle(operation_id)
        await print_ending(
            wait_for_result(
                handle, timeout_=waiting, advice="--timeout limits the wait" if waiting is None else ""
            ),
            operation_id=operation_id,
            output=invocation(ctx).output,
        )

    run_with_client(ctx, work)


@app.command()
def watch(ctx: typer.Context, operation_id: OperationId) -> None:
    """Print what the handler reports about its progress, each as a line of JSON, until the operation ends."""
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.waiting import sentence

    async def work(client: "Client") -> None:
        handle: OperationHandle[Any] = client.get_operation_handle(operation_id)
        async for value in handle.progress():
            typer.echo(json.dumps(value))
        found = await handle.describe()
        invocation(ctx).output.note(f"{sentence(found)}; its result: isthmus operation wait {operation_id}")

    run_with_client(ctx, work)


@app.command()
def signal(
    ctx: typer.Context,
    operation_id: OperationId,
    name: Annotated[str, typer.Argument(help="The signal, for example approve.")],
    *,
    input_: Annotated[
        str | None,
        typer.Option("--input", "-i", help="A file with the value as JSON; - reads stdin.", metavar="FILE"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A field of the value: name=value, JSON or text. Repeatable.", metavar="NAME=VALUE"
        ),
    ] = None,
) -> None:
    """Send a signal to an operation that your namespace started, sealed for its handler."""
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.operation_input import read_input

    value = read_input(input_, set_ or [])

    async def work(client: "Client") -> None:
        handle: OperationHandle[Any] = client.get_operation_handle(operation_id)
        await handle.signal(name, value)
        output = invocation(ctx).output
        output.note(f"The signal is recorded; {operation_id} gets it as long as it lives.")
        if output.is_json:
            output.document({"operation_id": operation_id, "signal": name})

    run_with_client(ctx, work)


@app.command()
def cancel(ctx: typer.Context, operation_id: OperationId) -> None:
    """Ask to cancel. Before a worker has it that ends it; afterwards its handler decides."""
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.waiting import sentence

    async def work(client: "Client") -> None:
        handle: OperationHandle[Any] = client.get_operation_handle(operation_id)
        before = await handle.describe()
        await handle.cancel()
        found = await handle.describe()
        output = invocation(ctx).output
        ended_before = before.status != "running"
        output.note(
            f"{'It had ended already.' if ended_before else 'The cancel is recorded.'} {sentence(found)}"
        )
        if output.is_json:
            output.document({"operation_id": operation_id, "state": found.state, "cancel_requested": True})

    run_with_client(ctx, work)


app.command()(complete)
app.command()(fail)
app.command()(status)
app.command()(redrive)
app.command()(terminate)


def _get(ctx: typer.Context, operation_id: str, caller: str) -> dict[str, Any]:
    from isthmus.cli.connection import open_connection
    from isthmus.cli.operation_document import operation_document
    from isthmus.v1 import operation_service_pb2, operation_service_pb2_grpc
    from isthmus.wire.names import parse_operation_id

    request = operation_service_pb2.GetOperationRequest(
        caller_namespace=caller, operation_id=parse_operation_id(operation_id)
    )
    with open_connection(ctx) as gateway:
        response = gateway.call(operation_service_pb2_grpc.OperationServiceStub, "GetOperation", request)
    return operation_document(response.operation)


def _state_number(name: str) -> int:
    from isthmus.v1 import operation_pb2

    known = {
        full.removeprefix("OPERATION_STATE_").lower(): number
        for full, number in operation_pb2.OperationState.items()
    }
    number = known.get(name.lower().replace("-", "_"), 0)
    if number == 0:
        names = ", ".join(sorted(set(known) - {"unspecified"}))
        raise CliError(f"there is no state {name!r}; there are: {names}")
    return int(number)
