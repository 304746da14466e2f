"""Commands that only write, over any number of values."""

from tests.contract.samples import complete, start

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.audit_record import AuditRecord
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.ports import Command, Namespace, StoredEndpointRecord, Task, UnitOfWork, WorkerSession


def starting(*operations: Operation, request: bytes = b"sealed request") -> Command[None]:
    """Write what accepted starts write."""

    def command(unit: UnitOfWork) -> None:
        for of in operations:
            start(unit, of, request)

    return command


def completing(*keys: OperationKey, outcome: bytes = b"sealed outcome") -> Command[None]:
    """Write what outcomes write."""

    def command(unit: UnitOfWork) -> None:
        for of in keys:
            complete(unit, of, outcome)

    return command


def inserting(*operations: Operation) -> Command[None]:
    """Add operations without tasks or records."""

    def command(unit: UnitOfWork) -> None:
        for of in operations:
            unit.insert_operation(of, b"sealed request")

    return command


def putting_tasks(*tasks: Task) -> Command[None]:
    """Write tasks."""

    def command(unit: UnitOfWork) -> None:
        for task in tasks:
            unit.put_task(task)

    return command


def putting_sessions(*sessions: WorkerSession) -> Command[None]:
    """Write worker sessions."""

    def command(unit: UnitOfWork) -> None:
        for session in sessions:
            unit.put_worker_session(session)

    return command


def inserting_namespaces(*namespaces: Namespace) -> Command[None]:
    """Add namespaces."""

    def command(unit: UnitOfWork) -> None:
        for namespace in namespaces:
            unit.insert_namespace(namespace)

    return command


def putting_endpoints(*endpoints: Endpoint) -> Command[None]:
    """Write endpoints."""

    def command(unit: UnitOfWork) -> None:
        for endpoint in endpoints:
            unit.put_endpoint(endpoint)

    return command


def putting_records(*records: StoredEndpointRecord) -> Command[None]:
    """Write records of endpoints."""

    def command(unit: UnitOfWork) -> None:
        for record in records:
            unit.put_endpoint_record(record)

    return command


def appending(*records: AuditRecord) -> Command[None]:
    """Append audit records."""

    def command(unit: UnitOfWork) -> None:
        for record in records:
            unit.append_audit(record)

    return command
