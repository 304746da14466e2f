"""Where many operations are, in one answer: what proves it, and never a result."""

from collections.abc import Sequence

from isthmus.gateway.api.operation_messages import STATES, Endings, outcome_proof, request_proof
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import Evidence, Store
from isthmus.v1 import operation_service_pb2
from isthmus.wire.names import check_operation_id

MOST_OPERATIONS = 256
# Of sealed messages that are read for one answer: digests of their bodies are in it.
MOST_BYTES_READ = 32 * 1024 * 1024
# Of the answer, which may exceed this by one status: that is two headers and a cancel large.
MOST_BYTES_ANSWERED = 8 * 1024 * 1024


class BriefStatuses:
    """Answers the caller's side, for the namespace of the credential alone."""

    def __init__(self, store: Store, endings: Endings) -> None:
        self._store = store
        self._endings = endings

    async def answer(
        self, principal: Principal, request: operation_service_pb2.BatchGetOperationStatusesRequest
    ) -> operation_service_pb2.BatchGetOperationStatusesResponse:
        """Say where the first of the operations are, as many as an answer has room for.

        Raises:
            InvalidRequestError: it asks for none, for too many, or for one twice.
            WireFormatError: one of them is no operation id.
        """
        keys = _keys(principal, request.operation_ids)
        found = await self._store.read(lambda reader: reader.evidence(keys, MOST_BYTES_READ))
        response = operation_service_pb2.BatchGetOperationStatusesResponse()
        answered_bytes = 0
        for evidence in found:
            status = self._status(evidence)
            response.statuses.append(status)
            answered_bytes += status.ByteSize()
            if answered_bytes > MOST_BYTES_ANSWERED:
                break
        return response

    def _status(self, evidence: Evidence) -> operation_service_pb2.BriefStatus:
        status = operation_service_pb2.BriefStatus(operation_id=evidence.key.operation_id)
        operation = evidence.operation
        if operation is None:
            expired = evidence.identity is not None
            status.presence = (
                operation_service_pb2.PRESENCE_EXPIRED if expired else operation_service_pb2.PRESENCE_UNKNOWN
            )
            return status
        status.presence = operation_service_pb2.PRESENCE_KEPT
        status.state = STATES[operation.state]
        status.request.CopyFrom(request_proof(evidence.request))
        if operation.statement is not None:
            status.statement.CopyFrom(self._endings.statement(operation, operation.statement))
            status.cancel = evidence.cancel
        elif evidence.outcome:
            status.attested.CopyFrom(outcome_proof(evidence.outcome))
        return status


def _keys(principal: Principal, operation_ids: Sequence[bytes]) -> list[OperationKey]:
    if not 0 < len(operation_ids) <= MOST_OPERATIONS:
        raise InvalidRequestError(
            f"one call asks for 1 to {MOST_OPERATIONS} operations",
            reason="BATCH_SIZE",
            fix="ask for the others in another call",
        )
    if len(set(operation_ids)) < len(operation_ids):
        raise InvalidRequestError("the same operation is asked for twice", reason="BATCH_DUPLICATE")
    return [
        OperationKey(caller=principal.namespace, operation_id=check_operation_id(operation_id))
        for operation_id in operation_ids
    ]
