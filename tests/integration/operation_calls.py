"""Unary calls as a caller makes them."""

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from tests.integration.operation_gateway import Client

from isthmus.v1 import operation_pb2, operation_service_pb2

LONG_WAIT_MS = 60_000


def start_request(
    envelope: bytes,
    reuse: "operation_service_pb2.ReusePolicy.ValueType" = operation_service_pb2.REUSE_POLICY_ATTACH,
) -> operation_service_pb2.StartOperationRequest:
    """Return a start."""
    return operation_service_pb2.StartOperationRequest(envelope=envelope, reuse_policy=reuse)


async def start(
    caller: Client,
    envelope: bytes,
    reuse: "operation_service_pb2.ReusePolicy.ValueType" = operation_service_pb2.REUSE_POLICY_ATTACH,
) -> operation_pb2.OperationStatus:
    """Start an operation."""
    answer = await caller.operations.StartOperation(start_request(envelope, reuse), metadata=caller.metadata)
    return answer.status


async def execute(
    caller: Client, envelope: bytes, wait_ms: int = LONG_WAIT_MS
) -> operation_pb2.OperationStatus:
    """Start an operation and wait for it."""
    answer = await caller.operations.ExecuteOperation(
        operation_service_pb2.ExecuteOperationRequest(start=start_request(envelope), wait_ms=wait_ms),
        metadata=caller.metadata,
    )
    return answer.status


async def wait(
    caller: Client, operation_id: bytes, wait_ms: int = LONG_WAIT_MS, *, include_request: bool = False
) -> operation_pb2.OperationStatus:
    """Wait for an operation."""
    answer = await caller.operations.WaitOperation(
        operation_service_pb2.WaitOperationRequest(
            operation_id=operation_id, wait_ms=wait_ms, include_request=include_request
        ),
        metadata=caller.metadata,
    )
    return answer.status


async def cancel(caller: Client, envelope: bytes) -> operation_pb2.OperationStatus:
    """Ask to cancel."""
    answer = await caller.operations.CancelOperation(
        operation_service_pb2.CancelOperationRequest(envelope=envelope), metadata=caller.metadata
    )
    return answer.status


async def described(
    client: Client, operation_id: bytes, caller_namespace: str = ""
) -> operation_pb2.Operation:
    """Return an operation as a namespace sees it."""
    answer = await client.operations.GetOperation(
        operation_service_pb2.GetOperationRequest(
            operation_id=operation_id, caller_namespace=caller_namespace
        ),
        metadata=client.metadata,
    )
    return answer.operation


async def make_round_trip(client: Client) -> None:
    """Give the gateway a moment to get on with what it does."""
    with pytest.raises(grpc.aio.AioRpcError):
        await described(client, b"0" * 16)


def refusal(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    """Return code and reason of a refused call."""
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    return error.code(), reason_in(details)


def reason_in(status: bytes) -> str:
    """Return the reason in a serialized google.rpc.Status."""
    for detail in status_pb2.Status.FromString(status).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""
