"""Serve operations to other namespaces.

::

    worker = Worker(client, task_queue="payments", nexus_service_handlers=[PaymentsHandler()])
    await worker.run()
"""

from isthmus.worker.completion import complete
from isthmus.worker.connected import WorkerClient
from isthmus.worker.context import TaskContext, current
from isthmus.worker.errors import (
    CompletionRefusedError,
    NotInTaskError,
    ReportRefusedError,
    ReportTooLargeError,
    TaskLostError,
    UntrustedNamespaceError,
    WorkerError,
    WorkerRefusedError,
)
from isthmus.worker.interceptor import (
    ExecuteNexusOperationCancelInput,
    ExecuteNexusOperationStartInput,
    Interceptor,
    NexusOperationInboundInterceptor,
)
from isthmus.worker.reported import Reported
from isthmus.worker.worker import Worker, run_sync

__all__ = [
    "CompletionRefusedError",
    "ExecuteNexusOperationCancelInput",
    "ExecuteNexusOperationStartInput",
    "Interceptor",
    "NexusOperationInboundInterceptor",
    "NotInTaskError",
    "ReportRefusedError",
    "ReportTooLargeError",
    "Reported",
    "TaskContext",
    "TaskLostError",
    "UntrustedNamespaceError",
    "Worker",
    "WorkerClient",
    "WorkerError",
    "WorkerRefusedError",
    "complete",
    "current",
    "run_sync",
]
