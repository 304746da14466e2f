"""``isthmus call``: call an operation of another team."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.invocation import invocation
from isthmus.cli.moment import parse_duration, parse_later_moment

if TYPE_CHECKING:
    from isthmus.client.client import Client
    from isthmus.client.request import ReusePolicy, StartKeywords


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    endpoint: str
    service: str
    operation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _BatchFile:
    source: str
    id_prefix: str | None
    id_field: str | None


def call(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="The endpoint, for example payments.")],
    service: Annotated[str, typer.Argument(help="The service, for example Payments.")],
    operation: Annotated[str, typer.Argument(help="The operation, for example charge.")],
    *,
    input_: Annotated[
        str | None,
        typer.Option("--input", "-i", help="A file with the input as JSON; - reads stdin.", metavar="FILE"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A field of the input: name=value, JSON or text. Repeatable.", metavar="NAME=VALUE"
        ),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", help="Your idempotency key: repeated, it attaches to the same operation."),
    ] = None,
    reuse: Annotated[
        str,
        typer.Option(
            help="What to do when the --id was used before: attach to that operation, reject the call, or "
            "restart-if-failed: start it again if its handler's team signed that it failed.",
            metavar="attach|reject|restart-if-failed",
        ),
    ] = "attach",
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Wait for the result, or only start.")] = True,
    timeout: Annotated[
        str | None, typer.Option(help="Wait at most so long; the operation goes on.", metavar="TIME")
    ] = None,
    schedule_to_close: Annotated[
        str | None, typer.Option(help="Longest life of the operation; default 24h.", metavar="TIME")
    ] = None,
    schedule_to_start: Annotated[
        str | None,
        typer.Option(
            help="How long it may wait for its first worker; default: all its life.", metavar="TIME"
        ),
    ] = None,
    start_to_close: Annotated[
        str | None,
        typer.Option(
            help="How long it may live after a worker took it; default: all its life.", metavar="TIME"
        ),
    ] = None,
    start_at: Annotated[
        str | None,
        typer.Option(
            help="Not before: in 2h, or at a time such as 2030-05-17T06:00 (UTC unless it says otherwise).",
            metavar="TIME",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            help="A file with many inputs, one a line, as JSON; - reads stdin. Each is a call of its own.",
            metavar="FILE",
        ),
    ] = None,
    id_prefix: Annotated[
        str | None,
        typer.Option(help="With --batch: each id is this and the number of the line, or the --id-field."),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option(help="With --batch: the field of each input that is its id; dots go deeper."),
    ] = None,
) -> None:
    """Call an operation, sealed for the team that serves it; its result goes to stdout as JSON.

    With --batch many, each started, awaited and answered for itself; --output json prints a document a line,
    as they come. Exits with 0 when all succeeded, else as a single call would that ended like those that did
    not; if these differ, with 8 if an ending is not proven, 7 if the same command may bring the rest, or 1.
    """
    from isthmus.client.request import StartKeywords

    waiting = None if timeout is None else parse_duration(timeout)
    has_ids = id_ is not None or batch is not None
    options = StartKeywords(id=id_, reuse_policy=_reuse_policy(reuse, has_id=has_ids))
    if schedule_to_close is not None:
        options["schedule_to_close_timeout"] = parse_duration(schedule_to_close)
    if schedule_to_start is not None:
        options["schedule_to_start_timeout"] = parse_duration(schedule_to_start)
    if start_to_close is not None:
        options["start_to_close_timeout"] = parse_duration(start_to_close)
    if start_at is not None:
        options["start_at"] = parse_later_moment(start_at, now=datetime.now(UTC))
    target = _Target(endpoint=endpoint, service=service, operation=operation)
    if batch is None:
        if id_prefix is not None or id_field is not None:
            raise CliError("--id-prefix and --id-field are for a --batch; a single call has its --id")
        _call_one(ctx, target, options, input_=input_, set_=set_ or [], wait=wait, waiting=waiting)
        return
    if input_ is not None or set_ or id_ is not None:
        raise CliError("a --batch has inputs and ids of its own: leave out --input, --set and --id")
    file = _BatchFile(source=batch, id_prefix=id_prefix, id_field=id_field)
    _call_many(ctx, target, options, file, wait=wait, waiting=waiting)


def _call_many(
    ctx: typer.Context,
    target: _Target,
    options: "StartKeywords",
    file: _BatchFile,
    *,
    wait: bool,
    waiting: timedelta | None,
) -> None:
    from isthmus.cli.batch import Batch
    from isthmus.cli.batch_file import read_batch
    from isthmus.cli.client_session import run_with_client

    requests = read_batch(file.source, id_prefix=file.id_prefix, id_field=file.id_field)

    async def work(client: "Client") -> ExitCode:
        made = Batch(client, requests, invocation(ctx).output, wait=wait)
        return await made.run(
            client.create_nexus_client(target.endpoint, target.service),
            target.operation,
            options,
            timeout_seconds=None if waiting is None else waiting.total_seconds(),
        )

    code = run_with_client(ctx, work)
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def _call_one(
    ctx: typer.Context,
    target: _Target,
    options: "StartKeywords",
    *,
    input_: str | None,
    set_: list[str],
    wait: bool,
    waiting: timedelta | None,
) -> None:
    from isthmus.cli.client_session import run_with_client
    from isthmus.cli.ending import print_ending
    from isthmus.cli.operation_input import read_input
    from isthmus.cli.waiting import hand_over, wait_for_result

    output = invocation(ctx).output
    value = read_input(input_, set_)

    async def work(client: "Client") -> None:
        service_client = client.create_nexus_client(target.endpoint, target.service)
        began = time.monotonic()
        try:
            async with asyncio.timeout(None if waiting is None else waiting.total_seconds()):
                handle = await hand_over(
                    service_client.start_operation(target.operation, value, **options),
                    client=client,
                    what=f"{target.endpoint}/{target.service}/{target.operation}",
                )
        except TimeoutError:
            raise _not_acknowledged(options.get("id")) from None
        left = None if waiting is None else waiting - timedelta(seconds=time.monotonic() - began)
        if not wait:
            document: dict[str, object] = {"operation_id": handle.operation_id, "state": "running"}
            if handle.generation is not None:
                document["generation"] = handle.generation
            output.document(document)
            return
        advice = "--timeout limits the wait, --detach only starts" if left is None else ""
        await print_ending(
            wait_for_result(handle, timeout_=left, advice=advice),
            operation_id=handle.operation_id,
            output=output,
        )

    run_with_client(ctx, work)


def _reuse_policy(text: str, *, has_id: bool) -> "ReusePolicy":
    policies: dict[str, ReusePolicy] = {
        "attach": "attach",
        "reject": "reject",
        "restart-if-failed": "restart_if_failed",
    }
    policy = policies.get(text.replace("_", "-"))
    if policy is None:
        raise CliError(f"--reuse is {', '.join(policies)}, not {text!r}")
    if policy != "attach" and not has_id:
        raise CliError(f"--reuse {text} needs an --id: without one every call is a new operation")
    return policy


def _not_acknowledged(id_: str | None) -> CliError:
    again = (
        f"repeat with --id {id_} to attach to it"
        if id_ is not None
        else "look for it with isthmus operation list before you repeat the call, next time with --id"
    )
    return CliError(
        f"time is over, and the gateway has not acknowledged the start; it may still record it: {again}",
        code=ExitCode.UNAVAILABLE,
    )
