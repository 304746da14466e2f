"""Stubs for asyncio: one class at run time for both stacks, two for type checkers."""

from typing import cast

from isthmus.transport.connection import Connection
from isthmus.v1 import (
    endpoint_service_pb2_grpc,
    key_service_pb2_grpc,
    namespace_service_pb2_grpc,
    operation_service_pb2_grpc,
)


def operation_stub_of(connection: Connection) -> "operation_service_pb2_grpc.OperationServiceAsyncStub":
    """Return a stub of the OperationService."""
    stub = operation_service_pb2_grpc.OperationServiceStub(connection.channel)
    return cast("operation_service_pb2_grpc.OperationServiceAsyncStub", cast("object", stub))


def key_stub_of(connection: Connection) -> "key_service_pb2_grpc.KeyServiceAsyncStub":
    """Return a stub of the KeyService."""
    stub = key_service_pb2_grpc.KeyServiceStub(connection.channel)
    return cast("key_service_pb2_grpc.KeyServiceAsyncStub", cast("object", stub))


def namespace_stub_of(connection: Connection) -> "namespace_service_pb2_grpc.NamespaceServiceAsyncStub":
    """Return a stub of the NamespaceService."""
    stub = namespace_service_pb2_grpc.NamespaceServiceStub(connection.channel)
    return cast("namespace_service_pb2_grpc.NamespaceServiceAsyncStub", cast("object", stub))


def endpoint_stub_of(connection: Connection) -> "endpoint_service_pb2_grpc.EndpointServiceAsyncStub":
    """Return a stub of the EndpointService."""
    stub = endpoint_service_pb2_grpc.EndpointServiceStub(connection.channel)
    return cast("endpoint_service_pb2_grpc.EndpointServiceAsyncStub", cast("object", stub))
