"""One look at the endpoints of the namespace: a worker of a queue that none of them names waits for ever."""

import logging
from contextlib import suppress
from typing import Final

from isthmus.transport.async_stubs import endpoint_stub_of
from isthmus.transport.errors import IsthmusError
from isthmus.v1 import endpoint_service_pb2
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import check_task_queue
from isthmus.worker.connected import WorkerClient
from isthmus.worker.some_names import some_names

_CALL_SECONDS: Final = 10.0
_PAGE_SIZE: Final = 1000
_MOST_PAGES: Final = 10
_MOST_NAMES: Final = 5

logger = logging.getLogger("isthmus.worker")


async def warn_if_unused(client: WorkerClient, task_queue: str) -> None:
    """Log a warning if no endpoint of the client's namespace sends work to a task queue.

    It is a courtesy: where the credential may not look, or the gateway does not answer, nothing is said.
    """
    with suppress(IsthmusError, WireFormatError):
        queues = await _queues(client)
        if queues is not None and task_queue not in queues:
            logger.warning("%s", _warning(client.namespace, task_queue, queues))


async def _queues(client: WorkerClient) -> set[str] | None:
    """Return the queues that endpoints of the namespace name; None if there is no end of them."""
    stub = endpoint_stub_of(client.connection)
    request = endpoint_service_pb2.ListEndpointsRequest(namespace=client.namespace, page_size=_PAGE_SIZE)
    found: set[str] = set()
    for _ in range(_MOST_PAGES):
        page = await client.connection.call(stub.ListEndpoints, request, timeout_seconds=_CALL_SECONDS)
        # Names go to the log: no gateway writes anything else there.
        found.update(check_task_queue(endpoint.task_queue) for endpoint in page.endpoints)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
    return None


def _warning(namespace: str, task_queue: str, others: set[str]) -> str:
    known = f" (they name: {some_names(others, _MOST_NAMES)})" if others else ""
    return (
        f"no endpoint of {namespace} sends work to task queue {task_queue}{known}; create one with:"
        f" isthmus endpoint create NAME --task-queue {task_queue}"
    )
