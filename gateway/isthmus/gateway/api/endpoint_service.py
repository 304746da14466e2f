# ruff: noqa: ARG002, N802 (gRPC names the methods and passes each a context)
"""EndpointService: wire ↔ commands."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from isthmus.endpoints.endpoint import Endpoint
from isthmus.endpoints.visibility import is_visible
from isthmus.gateway.api.caller import current_principal
from isthmus.gateway.api.denial_log import DenialLog
from isthmus.gateway.api.endpoint_backlog import EndpointBacklogs
from isthmus.gateway.api.endpoint_records import find_records, read_signed_record, signed_record_message
from isthmus.gateway.api.paging import page_size, page_start, page_token
from isthmus.gateway.api.registry_messages import (
    changed_settings,
    endpoint_message,
    endpoint_message_for,
    endpoint_settings,
)
from isthmus.gateway.commands.create_endpoint import create_endpoint
from isthmus.gateway.commands.delete_endpoint import delete_endpoint
from isthmus.gateway.commands.publish_endpoint_record import publish_endpoint_record
from isthmus.gateway.commands.transfer_endpoint import accept_endpoint, keep_endpoint, offer_endpoint
from isthmus.gateway.commands.update_endpoint import update_endpoint
from isthmus.gateway.core.audit_record import RequestDenied
from isthmus.gateway.core.errors import AccessDeniedError, NotFoundError
from isthmus.gateway.ports import Clock, Randomness, Reader, Store, UnitOfWork
from isthmus.policies.decision import Authorizer
from isthmus.v1 import endpoint_service_pb2 as pb
from isthmus.v1 import endpoint_service_pb2_grpc as pb_grpc
from isthmus.wire.names import check_endpoint, check_namespace

T = TypeVar("T")
_DEFAULT_PAGE = 50
_SCAN = 500
_MAX_SCANS = 20


class EndpointService(pb_grpc.EndpointServiceServicer):
    """The registry of endpoints."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        wall_clock: Clock,
        trust_domain: str,
        randomness: Randomness,
        authorizer: Authorizer,
        denials: DenialLog,
        backlogs: EndpointBacklogs,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wall_clock = wall_clock
        self._trust_domain = trust_domain
        self._denials = denials
        self._randomness = randomness
        self._authorizer = authorizer
        self._backlogs = backlogs

    async def CreateEndpoint(
        self, request: pb.CreateEndpointRequest, context: object
    ) -> pb.CreateEndpointResponse:
        """Create an endpoint in the caller's namespace."""
        endpoint = await self._store.transact(
            partial(
                create_endpoint,
                name=check_endpoint(request.endpoint.name),
                settings=endpoint_settings(request.endpoint),
                etag=self._randomness.etag(),
                actor=current_principal().actor,
                now=self._clock.now(),
            )
        )
        return pb.CreateEndpointResponse(endpoint=endpoint_message(endpoint))

    async def GetEndpoint(self, request: pb.GetEndpointRequest, context: object) -> pb.GetEndpointResponse:
        """Show an endpoint to its owner and its callers."""
        principal = current_principal()
        name, namespace = check_endpoint(request.name), principal.namespace
        endpoint = await self._store.read(lambda reader: reader.endpoint(name))
        if endpoint is None or not is_visible(endpoint, namespace):
            raise _not_found(name)
        backlog = None
        if request.include_backlog and endpoint.namespace == namespace:
            backlog = await self._backlogs.backlog(endpoint, to=principal)
        return pb.GetEndpointResponse(endpoint=endpoint_message_for(endpoint, namespace), backlog=backlog)

    async def ListEndpoints(
        self, request: pb.ListEndpointsRequest, context: object
    ) -> pb.ListEndpointsResponse:
        """List what the caller's namespace owns or may call."""
        owner = check_namespace(request.namespace) if request.namespace else ""
        size, after = page_size(request.page_size, _DEFAULT_PAGE), page_start(request.page_token)
        namespace = current_principal().namespace
        found, go_on_after = await self._store.read(
            lambda reader: _visible_endpoints(reader, owner, namespace, after, size)
        )
        return pb.ListEndpointsResponse(
            endpoints=[endpoint_message_for(endpoint, namespace) for endpoint in found],
            next_page_token=page_token(go_on_after) if go_on_after else "",
        )

    async def UpdateEndpoint(
        self, request: pb.UpdateEndpointRequest, context: object
    ) -> pb.UpdateEndpointResponse:
        """Change the fields that the mask names."""
        name = check_endpoint(request.endpoint.name)
        endpoint = await self._administer(
            name,
            partial(
                update_endpoint,
                name=name,
                settings=endpoint_settings(request.endpoint),
                changed=changed_settings(request.update_mask.paths),
                expected_etag=request.endpoint.etag,
                etag=self._randomness.etag(),
                actor=current_principal().actor,
                authorizer=self._authorizer,
                now=self._clock.now(),
            ),
        )
        return pb.UpdateEndpointResponse(endpoint=endpoint_message(endpoint))

    async def DeleteEndpoint(
        self, request: pb.DeleteEndpointRequest, context: object
    ) -> pb.DeleteEndpointResponse:
        """Delete an endpoint, at once or when it has drained."""
        name = check_endpoint(request.name)
        draining = await self._administer(
            name,
            partial(
                delete_endpoint,
                name=name,
                expected_etag=request.etag,
                drain=request.drain,
                etag=self._randomness.etag(),
                actor=current_principal().actor,
                authorizer=self._authorizer,
                now=self._clock.now(),
            ),
        )
        return pb.DeleteEndpointResponse(endpoint=None if draining is None else endpoint_message(draining))

    async def OfferEndpoint(
        self, request: pb.OfferEndpointRequest, context: object
    ) -> pb.OfferEndpointResponse:
        """Offer an endpoint to another namespace."""
        name = check_endpoint(request.name)
        endpoint = await self._administer(
            name,
            partial(
                offer_endpoint,
                name=name,
                expected_etag=request.etag,
                namespace=check_namespace(request.namespace),
                drain=request.drain,
                etag=self._randomness.etag(),
                actor=current_principal().actor,
                authorizer=self._authorizer,
                now=self._clock.now(),
            ),
        )
        return pb.OfferEndpointResponse(endpoint=endpoint_message(endpoint))

    async def AcceptEndpoint(
        self, request: pb.AcceptEndpointRequest, context: object
    ) -> pb.AcceptEndpointResponse:
        """Take over an endpoint."""
        endpoint = await self._store.transact(
            partial(
                accept_endpoint,
                name=check_endpoint(request.name),
                expected_etag=request.etag,
                task_queue=request.task_queue,
                etag=self._randomness.etag(),
                actor=current_principal().actor,
                now=self._clock.now(),
            )
        )
        return pb.AcceptEndpointResponse(endpoint=endpoint_message(endpoint))

    async def KeepEndpoint(self, request: pb.KeepEndpointRequest, context: object) -> pb.KeepEndpointResponse:
        """Call off a deletion or an offer."""
        name = check_endpoint(request.name)
        endpoint = await self._administer(
            name,
            partial(
                keep_endpoint,
                name=name,
                expected_etag=request.etag,
                etag=self._randomness.etag(),
                actor=current_principal().actor,
                authorizer=self._authorizer,
                now=self._clock.now(),
            ),
        )
        return pb.KeepEndpointResponse(endpoint=endpoint_message(endpoint))

    async def PublishEndpointRecord(
        self, request: pb.PublishEndpointRecordRequest, context: object
    ) -> pb.PublishEndpointRecordResponse:
        """Publish what the caller's namespace signed about an endpoint of its own."""
        publish = read_signed_record(request.record)
        endpoint = await self._administer(
            publish.record.endpoint,
            partial(
                publish_endpoint_record,
                request=publish,
                etag=self._randomness.etag(),
                actor=current_principal().actor,
                authorizer=self._authorizer,
                trust_domain=self._trust_domain,
                wall_now=self._wall_clock.now(),
                now=self._clock.now(),
            ),
        )
        return pb.PublishEndpointRecordResponse(endpoint=endpoint_message(endpoint))

    async def GetEndpointRecord(
        self, request: pb.GetEndpointRecordRequest, context: object
    ) -> pb.GetEndpointRecordResponse:
        """Show what the owner of an endpoint signed about it."""
        name, namespace = check_endpoint(request.name), current_principal().namespace
        with_earlier = request.include_earlier
        records = await self._store.read(
            lambda reader: find_records(reader, name, namespace, with_earlier=with_earlier)
        )
        if records is None:
            raise _not_found(name)
        return pb.GetEndpointRecordResponse(record=signed_record_message(records))

    async def _administer(self, name: str, command: Callable[[UnitOfWork], T]) -> T:
        try:
            return await self._store.transact(command)
        except AccessDeniedError:
            # Whoever is denied sees the endpoint, so it exists; its owner is to see that this was tried.
            endpoint = await self._store.read(lambda reader: reader.endpoint(name))
            owner = "" if endpoint is None else endpoint.namespace
            denied = RequestDenied(action="administer", rule="not-the-owner", endpoint=name, handler=owner)
            await self._denials.record(current_principal(), denied)
            raise


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no endpoint {name}",
        reason="ENDPOINT_NOT_FOUND",
        fix="Its owner may have to put your namespace on its allow list.",
    )


def _visible_endpoints(
    reader: Reader, owner: str, namespace: str, after: str, size: int
) -> tuple[list[Endpoint], str]:
    """Return a page of endpoints, and the name to go on after when there may be more.

    What the namespace may not see is skipped. A page looks at 10,000 endpoints at most, so that a namespace
    that sees few of many gets a short page and goes on.
    """
    found: list[Endpoint] = []
    for _ in range(_MAX_SCANS):
        chunk = reader.list_endpoints(owner, after, _SCAN)
        for endpoint in chunk:
            if is_visible(endpoint, namespace):
                if len(found) == size:
                    return found, found[-1].name
                found.append(endpoint)
        if len(chunk) < _SCAN:
            return found, ""
        after = chunk[-1].name
    return found, after
