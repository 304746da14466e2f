"""``isthmus namespace``: the teams of a deployment."""

from typing import Annotated

import typer

from isthmus.cli.invocation import invocation

app = typer.Typer(no_args_is_help=True, help="Namespaces: one for each team.")
COLUMNS = ("name", "description", "created_at")


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    description: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Create a namespace. For the platform team; repeating it answers with the one that exists."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.resource import document_of
    from isthmus.v1 import namespace_service_pb2, namespace_service_pb2_grpc

    request = namespace_service_pb2.CreateNamespaceRequest(name=name, description=description)
    with open_connection(ctx) as gateway:
        response = gateway.call(namespace_service_pb2_grpc.NamespaceServiceStub, "CreateNamespace", request)
    invocation(ctx).output.document(document_of(response.namespace))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List all namespaces."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.resource import document_of
    from isthmus.v1 import namespace_service_pb2, namespace_service_pb2_grpc

    found = []
    with open_connection(ctx) as gateway:
        request = namespace_service_pb2.ListNamespacesRequest(page_size=1000)
        while True:
            page = gateway.call(namespace_service_pb2_grpc.NamespaceServiceStub, "ListNamespaces", request)
            found += [document_of(namespace) for namespace in page.namespaces]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    invocation(ctx).output.rows(found, COLUMNS, empty="There are no namespaces yet.")


@app.command()
def describe(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Which.")]) -> None:
    """Show one namespace."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.resource import document_of
    from isthmus.v1 import namespace_service_pb2, namespace_service_pb2_grpc

    request = namespace_service_pb2.GetNamespaceRequest(name=name)
    with open_connection(ctx) as gateway:
        response = gateway.call(namespace_service_pb2_grpc.NamespaceServiceStub, "GetNamespace", request)
    invocation(ctx).output.document(document_of(response.namespace))
