"""How many operations that one's own namespace started have not ended."""

from typing import Final

from isthmus.cli.connection import GatewayConnection
from isthmus.v1 import operation_pb2, operation_service_pb2, operation_service_pb2_grpc

_PAGE: Final = 1000
_OPEN: Final = (
    operation_pb2.OPERATION_STATE_HELD,
    operation_pb2.OPERATION_STATE_SCHEDULED,
    operation_pb2.OPERATION_STATE_DISPATCHED,
    operation_pb2.OPERATION_STATE_STARTED,
    operation_pb2.OPERATION_STATE_PARKED,
    operation_pb2.OPERATION_STATE_REVIEW,
)


def count_open_calls(gateway: GatewayConnection) -> int:
    """Count them, page by page. Raises GatewayError."""
    request = operation_service_pb2.ListOperationsRequest(
        role=operation_service_pb2.OPERATION_ROLE_CALLER, states=_OPEN, page_size=_PAGE
    )
    count = 0
    while True:
        page = gateway.call(operation_service_pb2_grpc.OperationServiceStub, "ListOperations", request)
        count += len(page.operations)
        if not page.next_page_token:
            return count
        request.page_token = page.next_page_token
