"""``isthmus whoami``: whom the gateway takes this profile's credential for."""

import typer

from isthmus.cli.invocation import invocation


def whoami(ctx: typer.Context) -> None:
    """Show whom the gateway takes your credential for."""
    from isthmus.cli.connection import open_connection
    from isthmus.cli.resource import document_of
    from isthmus.v1 import namespace_service_pb2, namespace_service_pb2_grpc

    with open_connection(ctx) as gateway:
        answer = gateway.call(
            namespace_service_pb2_grpc.NamespaceServiceStub, "WhoAmI", namespace_service_pb2.WhoAmIRequest()
        )
    invocation(ctx).output.document(document_of(answer) | {"gateway": gateway.address})
