"""Serve operations to other namespaces.

::

    worker = Worker(client, task_queue="payments", nexus_service_handlers=[PaymentsHandler()])
    await worker.run()
"""

from isthmus.worker.completers import complete, complete_sync
from isthmus.worker.connected import SyncWorkerClient, WorkerClient
from isthmus.worker.context import TaskContext, current
from isthmus.worker.errors import (
    CompletionRefusedError,
    NotInTaskError,
    ReportRefusedError,
    ReportTooLargeError,
    SignalRefusedError,
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
from isthmus.worker.signal_handlers import SignalContext, signal_handler
from isthmus.worker.signals import Signal, Signals
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
    "Signal",
    "SignalContext",
    "SignalRefusedError",
    "Signals",
    "SyncWorkerClient",
    "TaskContext",
    "TaskLostError",
    "UntrustedNamespaceError",
    "Worker",
    "WorkerClient",
    "WorkerError",
    "WorkerRefusedError",
    "complete",
    "complete_sync",
    "current",
    "run_sync",
    "signal_handler",
]
