"""Requests that a namespace handles: fetched and completed by whichever of its processes knows the id."""

from isthmus.gateway.api.operation_messages import STATES
from isthmus.gateway.api.operation_status import no_operation, operation_not_found
from isthmus.gateway.api.task_outcomes import TaskOutcomes, check_token_key
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import InvalidRequestError, PreconditionError
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, Reader, Store
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import OUTCOMES
from isthmus.wire.names import check_namespace, check_operation_id


class _Found(Value):
    """An operation, its request and, if it was looked for by that, its sealed token."""

    operation: Operation
    request: bytes
    started: bytes | None


class _Wanted(Value):
    """What somebody of the handler's namespace looks for, by its id or by its token."""

    handler: str
    caller: str
    operation_id: bytes
    token_key: bytes

    def find(self, reader: Reader) -> _Found:
        """Find it. Raises NotFoundError, OperationExpiredError, PreconditionError."""
        if self.token_key:
            handled = reader.operations_with_token(self.handler, self.token_key)
        else:
            handled = reader.operations_handled(self.handler, self.operation_id)
        operations = [operation for operation in handled if self.caller in {"", operation.key.caller}]
        if len(operations) > 1:
            raise self._ambiguous()
        if not operations:
            raise no_operation(self._expired(reader))
        operation = operations[0]
        request = reader.envelope(operation.key, EnvelopeSlot.REQUEST)
        if request is None:
            raise operation_not_found()
        started = reader.envelope(operation.key, EnvelopeSlot.STARTED) if self.token_key else None
        return _Found(operation=operation, request=request, started=started)

    def _ambiguous(self) -> PreconditionError:
        if self.token_key:
            what, fix = "two operations have this token", "name the id of the operation"
        else:
            what, fix = "two callers have an operation with this id", "name the caller's namespace"
        return PreconditionError(what, reason="AMBIGUOUS_OPERATION", fix=fix)

    def _expired(self, reader: Reader) -> Identity | None:
        """Return what stays of a retired operation; its token is forgotten."""
        if self.token_key:
            return None
        identity = reader.identity_handled(self.handler, self.operation_id)
        is_named = identity is not None and self.caller in {"", identity.key.caller}
        return identity if is_named else None


class HandledRequests:
    """Answers those who complete operations from outside of a task."""

    def __init__(self, store: Store, outcomes: TaskOutcomes) -> None:
        self._store = store
        self._outcomes = outcomes

    async def get(
        self, principal: Principal, request: worker_service_pb2.GetRequestRequest
    ) -> worker_service_pb2.GetRequestResponse:
        """Return the sealed request of an operation that the principal's namespace handles.

        Raises:
            NotFoundError: there is none.
            OperationExpiredError: its retention is over.
            PreconditionError: two callers use the same id, or two operations have the same token.
        """
        wanted = _Wanted(
            handler=principal.namespace,
            caller=request.caller_namespace,
            operation_id=b"" if request.token_key else check_operation_id(request.operation_id),
            token_key=check_token_key(request.token_key) if request.token_key else b"",
        )
        if request.token_key and request.operation_id:
            raise InvalidRequestError(
                "look for an operation by its id or by its token",
                reason="TOKEN_KEY",
                fix="give one of them",
            )
        found = await self._store.read(wanted.find)
        return worker_service_pb2.GetRequestResponse(
            caller_namespace=found.operation.key.caller,
            operation_id=found.operation.key.operation_id,
            request=found.request,
            started=found.started or b"",
            state=STATES[found.operation.state],
        )

    async def complete(
        self, principal: Principal, request: worker_service_pb2.CompleteOperationRequest
    ) -> worker_service_pb2.CompleteOperationResponse:
        """Record the outcome of an operation that the principal's namespace handles.

        Raises:
            WireFormatError, GatewayError: it is refused; a late one is on record as such.
        """
        key = OperationKey(
            caller=check_namespace(request.caller_namespace),
            operation_id=check_operation_id(request.operation_id),
        )
        await self._outcomes.complete(principal, key, request.envelope, directions=OUTCOMES)
        return worker_service_pb2.CompleteOperationResponse()
