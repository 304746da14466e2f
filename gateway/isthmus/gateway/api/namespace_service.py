# ruff: noqa: ARG002, N802 (gRPC names the methods and passes each a context)
"""NamespaceService: wire ↔ commands."""

from isthmus.gateway.api.caller import current_principal
from isthmus.gateway.api.moments import timestamp
from isthmus.gateway.api.paging import page_size, page_start, page_token
from isthmus.gateway.api.registry_messages import namespace_message
from isthmus.gateway.commands.create_namespace import create_namespace
from isthmus.gateway.core.errors import NotFoundError
from isthmus.gateway.ports import Clock, Store
from isthmus.v1 import namespace_service_pb2 as pb
from isthmus.v1 import namespace_service_pb2_grpc as pb_grpc
from isthmus.wire.names import check_namespace

_DEFAULT_PAGE = 50


class NamespaceService(pb_grpc.NamespaceServiceServicer):
    """Namespaces, and who the caller is."""

    def __init__(self, store: Store, *, clock: Clock, trust_domain: str) -> None:
        self._store = store
        self._clock = clock
        self._trust_domain = trust_domain

    async def CreateNamespace(
        self, request: pb.CreateNamespaceRequest, context: object
    ) -> pb.CreateNamespaceResponse:
        """Create a namespace."""
        name = check_namespace(request.name)
        actor, now = current_principal().actor, self._clock.now()
        namespace = await self._store.transact(
            lambda uow: create_namespace(
                uow, name=name, description=request.description, actor=actor, now=now
            )
        )
        return pb.CreateNamespaceResponse(namespace=namespace_message(namespace))

    async def GetNamespace(self, request: pb.GetNamespaceRequest, context: object) -> pb.GetNamespaceResponse:
        """Show a namespace."""
        name = check_namespace(request.name)
        namespace = await self._store.read(lambda reader: reader.namespace(name))
        if namespace is None:
            raise NotFoundError(
                f"there is no namespace {name}",
                reason="NAMESPACE_NOT_FOUND",
                fix="Check its name; the platform team makes namespaces: isthmus namespace create.",
            )
        return pb.GetNamespaceResponse(namespace=namespace_message(namespace))

    async def ListNamespaces(
        self, request: pb.ListNamespacesRequest, context: object
    ) -> pb.ListNamespacesResponse:
        """List namespaces by name."""
        size, after = page_size(request.page_size, _DEFAULT_PAGE), page_start(request.page_token)
        found = await self._store.read(lambda reader: reader.list_namespaces(after, size + 1))
        page = found[:size]
        return pb.ListNamespacesResponse(
            namespaces=[namespace_message(namespace) for namespace in page],
            next_page_token=page_token(page[-1].name) if len(found) > size else "",
        )

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: object) -> pb.WhoAmIResponse:
        """Say whom the gateway takes the credential for."""
        del request
        principal = current_principal()
        return pb.WhoAmIResponse(
            principal=principal.name,
            namespace=principal.namespace,
            platform=principal.platform,
            expires_at=timestamp(principal.expires_at),
            trust_domain=self._trust_domain,
        )
