"""``isthmus endpoint keep``, ``offer`` and ``accept``: endpoints that go away, or to another namespace."""

from typing import Annotated, Any

import typer

from isthmus.cli.invocation import invocation

Name = Annotated[str, typer.Argument(help="Name of the endpoint.")]


def keep(ctx: typer.Context, name: Name) -> None:
    """Call off the deletion of an endpoint that drains, or its offer."""
    from isthmus.v1 import endpoint_service_pb2

    _call(ctx, "KeepEndpoint", endpoint_service_pb2.KeepEndpointRequest(name=name))
    invocation(ctx).output.note(f"{name} stays yours, and takes operations.")


def offer(
    ctx: typer.Context,
    name: Name,
    namespace: Annotated[str, typer.Argument(help="Who may accept it.", metavar="NAMESPACE")],
    drain: Annotated[
        bool, typer.Option("--drain", help="Take no new operations until it is accepted or kept.")
    ] = False,
) -> None:
    """Offer an endpoint to another namespace, which takes it over with isthmus endpoint accept."""
    from isthmus.v1 import endpoint_service_pb2

    request = endpoint_service_pb2.OfferEndpointRequest(name=name, namespace=namespace, drain=drain)
    _call(ctx, "OfferEndpoint", request)
    takes = "It takes no new operations until then." if drain else "Until then it serves as before."
    invocation(ctx).output.note(
        f"{name} is offered to {namespace}, who can accept it while none of its operations is open. {takes}"
    )


def accept(
    ctx: typer.Context,
    name: Name,
    task_queue: Annotated[
        str | None, typer.Option(help="The queue that your workers poll; otherwise the endpoint's name.")
    ] = None,
) -> None:
    """Take over an endpoint that is offered to your namespace. Its callers have to trust you for it first."""
    from isthmus.v1 import endpoint_service_pb2

    request = endpoint_service_pb2.AcceptEndpointRequest(name=name, task_queue=task_queue or name)
    accepted = _call(ctx, "AcceptEndpoint", request).endpoint
    callers = sorted({rule.namespace for rule in accepted.allow})
    invocation(ctx).output.note(
        f"{name} is yours; it serves the task queue {accepted.task_queue}."
        + (f" Its callers are refused until they trust you for it: {', '.join(callers)}." if callers else "")
    )


def _call(ctx: typer.Context, method: str, request: object) -> Any:  # noqa: ANN401 - the method's response
    from isthmus.cli.connection import open_connection
    from isthmus.v1 import endpoint_service_pb2_grpc

    with open_connection(ctx) as gateway:
        return gateway.call(endpoint_service_pb2_grpc.EndpointServiceStub, method, request)
