"""What the owner of an endpoint, and the platform, can do about operations: redrive and terminate them."""

from collections.abc import Sequence

from isthmus.endpoints.endpoint import Endpoint
from isthmus.endpoints.visibility import is_visible
from isthmus.gateway.api.authorization import Authorization
from isthmus.gateway.api.operation_status import no_operation, operation_not_found
from isthmus.gateway.api.operation_views import OperationViews, View
from isthmus.gateway.api.paging import page_size, page_start_position, page_token
from isthmus.gateway.api.registry_cache import RegistryCache
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.redrive_operation import redrive_operation, redrive_parked
from isthmus.gateway.commands.terminate_operation import terminate_operation
from isthmus.gateway.core.errors import NotFoundError
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.ports import Clock, ListedOperation, Reader, Store
from isthmus.policies.decision import Action, Question
from isthmus.v1 import operation_service_pb2 as pb
from isthmus.wire.names import OperationId, check_endpoint, check_namespace, check_operation_id

_DEFAULT_PAGE = 100
# Parked ones are looked for among so many open operations: a page ends in bounded time, however few it finds.
_SCAN = 1000


class OperationControl:
    """Answers those who look after operations. Every method raises GatewayError or WireFormatError."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        registry: RegistryCache,
        authorization: Authorization,
        views: OperationViews,
    ) -> None:
        self._store = store
        self._clock = clock
        self._registry = registry
        self._authorization = authorization
        self._views = views

    async def redrive(
        self, principal: Principal, request: pb.RedriveOperationRequest
    ) -> pb.RedriveOperationResponse:
        """Give a parked operation new attempts."""
        operation_id = check_operation_id(request.operation_id)
        found = await self._views.find(principal, request.caller_namespace, operation_id)
        await self._require(Action.REDRIVE, principal, found.operation)
        key, clock = found.operation.key, self._clock
        redrive = await self._store.transact(
            lambda uow: redrive_operation(uow, key, principal.actor, now=clock.now()), reads=(key,)
        )
        (shown,) = await self._views.show_now([redrive.operation], to=principal)
        return pb.RedriveOperationResponse(operation=shown, redriven=redrive.redriven)

    async def redrive_page(
        self, principal: Principal, request: pb.RedriveOperationsRequest
    ) -> pb.RedriveOperationsResponse:
        """Give a page of an endpoint's parked operations new attempts, the oldest first."""
        name, caller = check_endpoint(request.endpoint), request.caller_namespace
        if caller:
            check_namespace(caller)
        size, after = page_size(request.page_size, _DEFAULT_PAGE), page_start_position(request.page_token)
        endpoint = await self._registry.endpoint(name)
        if endpoint is None or not is_visible(endpoint, principal.namespace):
            raise NotFoundError(
                f"there is no endpoint {name}", reason="ENDPOINT_NOT_FOUND", fix="check its name"
            )
        await self._authorization.require(principal, _question(Action.REDRIVE, principal, endpoint))
        looked_at = await self._store.read(lambda reader: reader.open_operations(name, after, _SCAN))
        parked = [entry for entry in looked_at if _is_parked(entry, caller)][:size]
        keys = [entry.operation.key for entry in parked]
        clock = self._clock
        redriven = await self._store.transact(
            lambda uow: redrive_parked(uow, keys, principal.actor, now=clock.now()), reads=keys
        )
        return pb.RedriveOperationsResponse(
            operations=await self._views.show_now(redriven, to=principal),
            next_page_token=_next_page(looked_at, parked, size),
        )

    async def terminate(
        self, principal: Principal, request: pb.TerminateOperationRequest
    ) -> pb.TerminateOperationResponse:
        """End an operation by force."""
        operation_id = check_operation_id(request.operation_id)
        found = await self._find_to_end(principal, request.caller_namespace, operation_id)
        await self._require(Action.TERMINATE, principal, found.operation)
        key, clock, reason = found.operation.key, self._clock, request.reason
        ended = await self._store.transact(
            lambda uow: terminate_operation(uow, key, principal.actor, reason=reason, now=clock.now()),
            reads=(key,),
        )
        (shown,) = await self._views.show_now([ended.operation], to=principal)
        return pb.TerminateOperationResponse(operation=shown, terminated=ended.terminated)

    async def _find_to_end(self, principal: Principal, caller: str, operation_id: OperationId) -> View:
        """Find what the principal takes part in; the platform finds everything of a caller that it names."""
        if not (principal.platform and caller):
            return await self._views.find(principal, caller, operation_id)
        key = OperationKey(caller=check_namespace(caller), operation_id=operation_id)

        def query(reader: Reader) -> View:
            operation = reader.operation(key)
            if operation is None:
                raise no_operation(reader.identity(key))
            return self._views.view(reader, operation)

        return await self._store.read(query)

    async def _require(self, action: Action, principal: Principal, operation: Operation) -> None:
        endpoint = await self._registry.endpoint(operation.endpoint)
        if endpoint is None:
            raise operation_not_found()
        question = _question(action, principal, endpoint, operation)
        await self._authorization.require(principal, question, operation_id=operation.key.operation_id)


def _question(
    action: Action, principal: Principal, endpoint: Endpoint, operation: Operation | None = None
) -> Question:
    return Question(
        action=action,
        namespace=principal.namespace,
        principal=principal.name,
        endpoint=endpoint,
        service="" if operation is None else operation.service,
        operation="" if operation is None else operation.operation,
        platform=principal.platform,
    )


def _is_parked(entry: ListedOperation, caller: str) -> bool:
    operation = entry.operation
    return operation.state is State.PARKED and caller in {"", operation.key.caller}


def _next_page(looked_at: Sequence[ListedOperation], parked: Sequence[ListedOperation], size: int) -> str:
    """Return where to go on: after the last one redriven, or after all that were looked at."""
    if len(parked) == size:
        return page_token(str(parked[-1].position))
    return page_token(str(looked_at[-1].position)) if len(looked_at) == _SCAN else ""
