"""The typed stub of WorkerService on a connection."""

from typing import TYPE_CHECKING, cast

from isthmus.transport.connection import Connection
from isthmus.v1 import worker_service_pb2_grpc

if TYPE_CHECKING:
    from isthmus.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub


def worker_stub(connection: Connection) -> "WorkerServiceAsyncStub":
    """Make a stub. Raises ForkedError in a forked process."""
    stub = cast("object", worker_service_pb2_grpc.WorkerServiceStub(connection.channel))
    # One class at run time; mypy-protobuf has a second one, for its types only.
    return cast("WorkerServiceAsyncStub", stub)
