"""Pages of operations, for the namespace that called them or the one that serves them."""

from isthmus.gateway.api.operation_messages import state_from
from isthmus.gateway.api.operation_views import OperationViews, View
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.core.operation import State
from isthmus.gateway.ports import OperationFilter, Reader, Store
from isthmus.v1 import operation_service_pb2

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


class OperationListing:
    """Lists operations, newest first."""

    def __init__(self, store: Store, views: OperationViews) -> None:
        self._store = store
        self._views = views

    async def page(
        self, principal: Principal, request: operation_service_pb2.ListOperationsRequest
    ) -> operation_service_pb2.ListOperationsResponse:
        """Return a page.

        Raises:
            InvalidRequestError: role, state or page token are unknown.
        """
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        is_handler = request.role == operation_service_pb2.OPERATION_ROLE_HANDLER
        wanted = OperationFilter(
            caller="" if is_handler else principal.namespace,
            handler=principal.namespace if is_handler else "",
            endpoint=request.endpoint,
            states=frozenset(_state(state) for state in request.states),
            before=_position(request.page_token),
            limit=size,
        )

        def query(reader: Reader) -> tuple[list[View], str]:
            listed = reader.list_operations(wanted)
            more = str(listed[-1].position) if len(listed) == size else ""
            return self._views.views(reader, (entry.operation for entry in listed)), more

        views, more = await self._store.read(query)
        return operation_service_pb2.ListOperationsResponse(
            operations=[self._views.show(shown, to=principal) for shown in views], next_page_token=more
        )


def _state(wire: int) -> State:
    state = state_from(wire)
    if state is None:
        raise InvalidRequestError(
            "a state of the filter is unknown",
            fix="Leave it out, or update the gateway.",
        )
    return state


def _position(token: str) -> int | None:
    if not token:
        return None
    if not (token.isascii() and token.isdecimal() and len(token) < len(str(2**63))):
        raise InvalidRequestError("the page token is not one of ours", reason="PAGE_TOKEN")
    return int(token)
