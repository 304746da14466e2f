"""Operations as documents that commands print."""

from typing import Any

from isthmus.cli.resource import document_of
from isthmus.v1 import operation_pb2


def operation_document(operation: operation_pb2.Operation) -> dict[str, Any]:
    """Return all that the gateway tells about an operation; what it does not wait for is None."""
    document = document_of(operation)
    document["route"] = f"{operation.endpoint}/{operation.service}/{operation.operation}"
    for name in ("waiting", "last_attempt_end", "statement"):
        if document[name] == "unspecified":
            document[name] = None
    return document
