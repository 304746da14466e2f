"""Requests that a namespace handles: fetched and completed by whichever of its processes knows the id."""

from isthmus.gateway.api.operation_messages import STATES
from isthmus.gateway.api.operation_status import no_operation, operation_not_found
from isthmus.gateway.api.task_outcomes import TaskOutcomes
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.ports import EnvelopeSlot, Reader, Store
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import OUTCOMES
from isthmus.wire.names import check_namespace, check_operation_id


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
            PreconditionError: two callers use the same id.
        """
        operation_id = check_operation_id(request.operation_id)
        caller = request.caller_namespace
        handler = principal.namespace

        def query(reader: Reader) -> tuple[Operation, bytes]:
            operations = [
                operation
                for operation in reader.operations_handled(handler, operation_id)
                if caller in {"", operation.key.caller}
            ]
            if len(operations) > 1:
                raise PreconditionError(
                    "two callers have an operation with this id",
                    reason="AMBIGUOUS_OPERATION",
                    fix="name the caller's namespace",
                )
            if not operations:
                identity = reader.identity_handled(handler, operation_id)
                is_named = identity is not None and caller in {"", identity.key.caller}
                raise no_operation(identity if is_named else None)
            sealed = reader.envelope(operations[0].key, EnvelopeSlot.REQUEST)
            if sealed is None:
                raise operation_not_found()
            return operations[0], sealed

        operation, sealed = await self._store.read(query)
        return worker_service_pb2.GetRequestResponse(
            caller_namespace=operation.key.caller, request=sealed, state=STATES[operation.state]
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
