"""``isthmus endpoint``: named routes to a namespace and a task queue, and who may call them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.endpoint_flow import (
    CircuitFailures,
    CircuitTime,
    PinVersions,
    Ramp,
    fill_circuit,
    fill_versions,
    readable_circuit,
    readable_open_circuit,
    readable_versions,
)
from isthmus.cli.endpoint_record import RequiredRecipients, publish
from isthmus.cli.endpoint_transfer import accept, keep, offer
from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation
from isthmus.cli.moment import parse_duration

if TYPE_CHECKING:
    from isthmus.v1 import endpoint_service_pb2

app = typer.Typer(no_args_is_help=True, help="Endpoints: named routes to a team's workers.")
COLUMNS = ("name", "namespace", "task_queue", "allow", "description")

# The gateway looks at the oldest so many.
_MOST_COUNTED = 1000
# What the field holds.
_MOST_MILLISECONDS = 2**32
Name = Annotated[str, typer.Argument(help="Name of the endpoint.")]
TaskQueue = Annotated[
    str | None, typer.Option(help="The queue that its workers poll; a new one's is called like the endpoint.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        help="Who may call: namespace, namespace/service or namespace/service/operation. Repeatable.",
        metavar="RULE",
    ),
]
Description = Annotated[str | None, typer.Option(help="For people.")]
MaxAttempts = Annotated[int | None, typer.Option(min=0, help="Delivery attempts at most; 0: no limit.")]
OnExhausted = Annotated[
    str | None, typer.Option(help="What happens when they are used up: park or fail.", metavar="park|fail")
]
FirstWait = Annotated[
    str | None,
    typer.Option(help="Wait before the second attempt; it doubles from there. Default 1s.", metavar="TIME"),
]
LongestWait = Annotated[
    str | None, typer.Option(help="Longest wait between attempts; default 5m.", metavar="TIME")
]
MaxTime = Annotated[
    str | None,
    typer.Option("--max-time", help="Longest life of an operation, for example 2h.", metavar="TIME"),
]
FairWeight = Annotated[
    list[str] | None,
    typer.Option(
        help="Operations of a caller that go out in its turn while others wait, for example data-team=5; "
        "1 for whoever is not named. Repeatable.",
        metavar="NAMESPACE=WEIGHT",
    ),
]

Retention = Annotated[
    str | None,
    typer.Option(
        help="How long payloads are kept after the end of an operation, for example 90d.", metavar="TIME"
    ),
]
MaxPerSecond = Annotated[
    int | None,
    typer.Option("--max-per-second", min=0, help="Starts of each caller in a second; 0: no limit."),
]
MaxOpen = Annotated[
    int | None, typer.Option(min=0, help="Open operations of each caller at most; 0: no limit.")
]

MaxPayloadBytes = Annotated[
    int | None,
    typer.Option(min=0, help="Largest sealed input that it takes, in bytes; 0: the gateway's limit."),
]


@app.command()
def create(
    ctx: typer.Context,
    name: Name,
    *,
    task_queue: TaskQueue = None,
    allow: Allow = None,
    description: Description = None,
    max_attempts: MaxAttempts = None,
    on_exhausted: OnExhausted = None,
    first_wait: FirstWait = None,
    longest_wait: LongestWait = None,
    max_time: MaxTime = None,
    fair_weight: FairWeight = None,
    max_per_second: MaxPerSecond = None,
    max_open: MaxOpen = None,
    max_payload_bytes: MaxPayloadBytes = None,
    retention: Retention = None,
    circuit_failures: CircuitFailures = None,
    circuit_time: CircuitTime = None,
    ramp: Ramp = None,
    pin_versions: PinVersions = None,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign how it is served, as isthmus endpoint publish does.")
    ] = False,
    required_recipient: RequiredRecipients = None,
) -> None:
    """Create an endpoint of your namespace. Nobody may call it until --allow says so."""
    from isthmus.v1 import endpoint_service_pb2

    if required_recipient and not sign:
        raise CliError("--required-recipient needs --sign: only a signed record makes others read along")
    endpoint = endpoint_service_pb2.Endpoint(name=name)
    _fill(
        endpoint,
        task_queue=task_queue or name,
        allow=allow,
        description=description,
        max_attempts=max_attempts,
        on_exhausted=on_exhausted,
        first_wait=first_wait,
        longest_wait=longest_wait,
        max_time=max_time,
        fair_weights=_parse_weights(fair_weight),
        max_per_second=max_per_second,
        max_open=max_open,
        max_payload_bytes=max_payload_bytes,
        retention=retention,
    )
    fill_circuit(endpoint, circuit_failures, circuit_time)
    fill_versions(endpoint, ramp, pin_versions)
    request = endpoint_service_pb2.CreateEndpointRequest(endpoint=endpoint)
    created = _call(ctx, "CreateEndpoint", request).endpoint
    if not sign:
        _show(ctx, created)
        return
    from isthmus.cli.endpoint_record import publish_record
    from isthmus.keys.record_publication import RecordWishes

    recipients = tuple(required_recipient or ())
    # The queue that was asked for: what is signed is not taken from an answer.
    publish_record(ctx, name, RecordWishes(task_queue=endpoint.task_queue, required_recipients=recipients))


@app.command("list")
def list_(
    ctx: typer.Context,
    namespace: Annotated[str, typer.Option(help="Only endpoints of this namespace.")] = "",
) -> None:
    """List the endpoints that your namespace owns or may call."""
    from isthmus.v1 import endpoint_service_pb2

    found: list[dict[str, Any]] = []
    request = endpoint_service_pb2.ListEndpointsRequest(namespace=namespace, page_size=1000)
    while True:
        page = _call(ctx, "ListEndpoints", request)
        found += [_document(endpoint) for endpoint in page.endpoints]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    invocation(ctx).output.rows(found, COLUMNS, empty="There are no endpoints that you own or may call.")


@app.command()
def describe(ctx: typer.Context, name: Name) -> None:
    """Show one endpoint, what its owner signed about it, and whether that verifies.

    If it is yours: also how many operations are open and what they wait for.
    """
    from isthmus.cli.connection import open_connection
    from isthmus.cli.endpoint_record import described_record
    from isthmus.v1 import endpoint_service_pb2, endpoint_service_pb2_grpc

    request = endpoint_service_pb2.GetEndpointRequest(name=name, include_backlog=True)
    with open_connection(ctx) as gateway:
        response = gateway.call(endpoint_service_pb2_grpc.EndpointServiceStub, "GetEndpoint", request)
        signed = described_record(ctx, gateway, name, response.endpoint.namespace)
    document = _document(response.endpoint) | signed
    if response.HasField("backlog"):
        document |= _backlog(response.backlog)
    output = invocation(ctx).output
    output.document(document if output.is_json else readable(document))


@app.command()
def update(
    ctx: typer.Context,
    name: Name,
    *,
    task_queue: TaskQueue = None,
    allow: Allow = None,
    allow_nobody: Annotated[bool, typer.Option("--allow-nobody", help="Empty the allow list.")] = False,
    description: Description = None,
    max_attempts: MaxAttempts = None,
    on_exhausted: OnExhausted = None,
    first_wait: FirstWait = None,
    longest_wait: LongestWait = None,
    max_time: MaxTime = None,
    fair_weight: FairWeight = None,
    max_per_second: MaxPerSecond = None,
    max_open: MaxOpen = None,
    max_payload_bytes: MaxPayloadBytes = None,
    retention: Retention = None,
    circuit_failures: CircuitFailures = None,
    circuit_time: CircuitTime = None,
    ramp: Ramp = None,
    no_ramp: Annotated[bool, typer.Option("--no-ramp", help="Empty the ramp.")] = False,
    pin_versions: PinVersions = None,
) -> None:
    """Change what is given and leave the rest. --allow, --fair-weight and --ramp replace the whole list."""
    from isthmus.v1 import endpoint_service_pb2

    if ramp and no_ramp:
        raise CliError("--ramp and --no-ramp contradict each other")
    if allow and allow_nobody:
        raise CliError("--allow and --allow-nobody contradict each other")
    current = _call(ctx, "GetEndpoint", endpoint_service_pb2.GetEndpointRequest(name=name)).endpoint
    fields = _fill(
        current,
        task_queue=task_queue,
        allow=[] if allow_nobody else allow,
        description=description,
        max_attempts=max_attempts,
        on_exhausted=on_exhausted,
        first_wait=first_wait,
        longest_wait=longest_wait,
        max_time=max_time,
        fair_weights=_parse_weights(fair_weight),
        max_per_second=max_per_second,
        max_open=max_open,
        max_payload_bytes=max_payload_bytes,
        retention=retention,
    )
    fields += fill_circuit(current, circuit_failures, circuit_time)
    fields += fill_versions(current, [] if no_ramp else ramp, pin_versions)
    if not fields:
        raise CliError("nothing to change: give at least one option, see isthmus endpoint update --help")
    # With the etag that was read: a change that somebody else makes meanwhile is not overwritten.
    request = endpoint_service_pb2.UpdateEndpointRequest(endpoint=current)
    request.update_mask.paths.extend(fields)
    _show(ctx, _call(ctx, "UpdateEndpoint", request).endpoint)


@app.command()
def delete(
    ctx: typer.Context,
    name: Name,
    drain: Annotated[
        bool,
        typer.Option("--drain", help="Take no new operations, let open ones end, then delete it."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an endpoint; refused while operations are open. Its name stays reserved for you for 400 days."""
    from isthmus.v1 import endpoint_service_pb2

    if not yes:
        typer.confirm(f"Delete the endpoint {name}?", abort=True, err=True)
    request = endpoint_service_pb2.DeleteEndpointRequest(name=name, drain=drain)
    response = _call(ctx, "DeleteEndpoint", request)
    note = f"{name} is deleted."
    if response.HasField("endpoint"):
        note = (
            f"{name} takes no new operations; it is deleted when the open ones have ended."
            f" isthmus endpoint keep {name} calls that off."
        )
    invocation(ctx).output.note(note)


app.command()(publish)
app.command()(keep)
app.command()(offer)
app.command()(accept)


def _fill(
    endpoint: "endpoint_service_pb2.Endpoint",
    *,
    task_queue: str | None,
    allow: list[str] | None,
    description: str | None,
    max_attempts: int | None,
    on_exhausted: str | None,
    first_wait: str | None,
    longest_wait: str | None,
    max_time: str | None,
    fair_weights: dict[str, int],
    max_per_second: int | None,
    max_open: int | None,
    max_payload_bytes: int | None,
    retention: str | None,
) -> list[str]:
    """Put what is given into an endpoint; return the paths of the fields that were."""
    from isthmus.cli.allow_rule import parse_allow_rule

    fields: list[str] = []
    if task_queue is not None:
        endpoint.task_queue = task_queue
        fields.append("task_queue")
    if description is not None:
        endpoint.description = description
        fields.append("description")
    if allow is not None:
        rules = [parse_allow_rule(text) for text in allow]
        del endpoint.allow[:]
        endpoint.allow.extend(rules)
        fields.append("allow")
    fields += _fill_retry(endpoint, max_attempts, on_exhausted, first_wait, longest_wait)
    if max_time is not None:
        endpoint.max_schedule_to_close_ms = round(parse_duration(max_time).total_seconds() * 1000)
        fields.append("max_schedule_to_close_ms")
    if retention is not None:
        endpoint.retention_ms = round(parse_duration(retention).total_seconds() * 1000)
        fields.append("retention_ms")
    if max_payload_bytes is not None:
        endpoint.max_payload_bytes = max_payload_bytes
        fields.append("max_payload_bytes")
    fields += _fill_limits(endpoint, fair_weights, max_per_second, max_open)
    return fields


def _fill_retry(
    endpoint: "endpoint_service_pb2.Endpoint",
    max_attempts: int | None,
    on_exhausted: str | None,
    first_wait: str | None,
    longest_wait: str | None,
) -> list[str]:
    """Put how attempts are repeated into an endpoint; return the path of the field, if anything is given."""
    from isthmus.v1 import endpoint_service_pb2

    if max_attempts is not None:
        endpoint.retry.max_attempts = max_attempts
    if on_exhausted is not None:
        choices = {
            "park": endpoint_service_pb2.ON_EXHAUSTED_PARK,
            "fail": endpoint_service_pb2.ON_EXHAUSTED_FAIL,
        }
        if on_exhausted not in choices:
            raise CliError(f"--on-exhausted is park or fail, not {on_exhausted!r}")
        endpoint.retry.on_exhausted = choices[on_exhausted]
    if first_wait is not None:
        endpoint.retry.initial_interval_ms = _milliseconds("--first-wait", first_wait)
    if longest_wait is not None:
        endpoint.retry.max_interval_ms = _milliseconds("--longest-wait", longest_wait)
    given = (max_attempts, on_exhausted, first_wait, longest_wait)
    return ["retry"] if any(value is not None for value in given) else []


def _milliseconds(option: str, text: str) -> int:
    milliseconds = round(parse_duration(text).total_seconds() * 1000)
    if not 0 < milliseconds < _MOST_MILLISECONDS:
        raise CliError(f"{option} is more than 0 and less than 49 days, not {text!r}")
    return milliseconds


def _fill_limits(
    endpoint: "endpoint_service_pb2.Endpoint",
    fair_weights: dict[str, int],
    max_per_second: int | None,
    max_open: int | None,
) -> list[str]:
    """Put what each caller may have into an endpoint; return the paths of the fields."""
    fields: list[str] = []
    if fair_weights:
        del endpoint.fair_weights[:]
        for name, weight in fair_weights.items():
            endpoint.fair_weights.add(namespace=name, weight=weight)
        fields.append("fair_weights")
    if max_per_second is not None:
        endpoint.max_operations_per_second = max_per_second
        fields.append("max_operations_per_second")
    if max_open is not None:
        endpoint.max_open_operations = max_open
        fields.append("max_open_operations")
    return fields


def _parse_weights(texts: list[str] | None) -> dict[str, int]:
    weights: dict[str, int] = {}
    for text in texts or ():
        name, _, weight = text.partition("=")
        if not (name and weight.isascii() and weight.isdecimal()):
            raise CliError(f"--fair-weight is NAMESPACE=WEIGHT, for example data-team=5, not {text!r}")
        weights[name] = int(weight)
    return weights


def _call(ctx: typer.Context, method: str, request: object) -> Any:  # noqa: ANN401 - the method's response
    from isthmus.cli.connection import open_connection
    from isthmus.v1 import endpoint_service_pb2_grpc

    with open_connection(ctx) as gateway:
        return gateway.call(endpoint_service_pb2_grpc.EndpointServiceStub, method, request)


def _document(endpoint: "endpoint_service_pb2.Endpoint") -> dict[str, Any]:
    from isthmus.cli.allow_rule import show_allow_rule
    from isthmus.cli.resource import document_of

    return document_of(endpoint) | {"allow": [show_allow_rule(rule) for rule in endpoint.allow]}


def _backlog(backlog: "endpoint_service_pb2.EndpointBacklog") -> dict[str, Any]:
    from isthmus.cli.operation_document import operation_document
    from isthmus.cli.resource import document_of

    oldest = operation_document(backlog.oldest) if backlog.HasField("oldest") else None
    return {
        "open_operations": backlog.operations,
        "waiting": {count["cause"]: count["operations"] for count in document_of(backlog)["waiting"]},
        "oldest_operation": oldest,
        "open_circuits": document_of(backlog)["circuits"],
        "worker_versions": document_of(backlog)["versions"],
    }


def _show(ctx: typer.Context, endpoint: "endpoint_service_pb2.Endpoint") -> None:
    output = invocation(ctx).output
    document = _document(endpoint)
    output.document(document if output.is_json else readable(document))


def readable(document: dict[str, Any]) -> dict[str, Any]:
    """Return an endpoint's document for people: a zero says what it stands for."""
    retry: dict[str, Any] = document["retry"] or {}
    attempts = retry.get("max_attempts")
    exhausted = "fail" if retry.get("on_exhausted") == "fail" else "park"
    lines = [f"{attempts} attempts at most, then {exhausted}" if attempts else "no limit of attempts"]
    lines += [
        f"{what} {_seconds(retry[name])}"
        for name, what in (("initial_interval_ms", "first wait"), ("max_interval_ms", "longest wait"))
        if retry.get(name)
    ]
    return (
        document
        | _readable_backlog(document)
        | {
            "retry": lines,
            "max_payload_bytes": document["max_payload_bytes"] or "default (the gateway's limit)",
            "max_schedule_to_close_ms": document["max_schedule_to_close_ms"] or "default (24h)",
            "retention_ms": _days(document["retention_ms"]),
            "offered_to": document["offered_to"] or "nobody",
            "fair_weights": [f"{entry['namespace']}={entry['weight']}" for entry in document["fair_weights"]]
            or "none (callers take equal turns)",
            "max_operations_per_second": document["max_operations_per_second"] or "no limit",
            "max_open_operations": document["max_open_operations"] or "no limit",
            "circuit": readable_circuit(document["circuit"]),
            "versions": readable_versions(document["versions"]),
        }
    )


def _readable_backlog(document: dict[str, Any]) -> dict[str, Any]:
    from isthmus.cli.why import why

    if "open_operations" not in document:
        return {}
    count, oldest = document["open_operations"], document["oldest_operation"]
    return {
        "open_operations": f"{count} or more" if count >= _MOST_COUNTED else count,
        "waiting": [f"{number} {cause.replace('_', ' ')}" for cause, number in document["waiting"].items()],
        "oldest_operation": why(oldest) if oldest else None,
        "open_circuits": [readable_open_circuit(circuit) for circuit in document["open_circuits"]] or "none",
        "worker_versions": [
            f"{present['sessions']} of {present['version'] or 'no version'}"
            for present in document["worker_versions"]
        ]
        or "no workers",
    }


def _days(milliseconds: int) -> str:
    return f"{milliseconds / 86_400_000:g} days" if milliseconds else "default (30 days)"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s"
