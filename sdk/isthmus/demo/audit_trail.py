"""What the gateway wrote into its audit log about the calls of the demonstration."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from isthmus.client.assembly import channel_settings, token_source
from isthmus.client.profile import load_profile
from isthmus.demo.deployment import PLATFORM, Deployment
from isthmus.transport.connection import SyncConnection
from isthmus.v1 import audit_pb2, audit_service_pb2, audit_service_pb2_grpc, operation_pb2
from isthmus.wire.names import format_operation_id

_CALL_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditTrail:
    """By operation id, for one endpoint each: who was started, how often delivered, how it ended."""

    started: dict[str, str]
    """Operation id to endpoint."""
    deliveries: dict[str, int]
    endings: dict[str, tuple[str, ...]]
    """All endings of an operation; a sound log has one."""
    events: int


def read_audit_trail(deployment: Deployment) -> AuditTrail:
    """Read the whole log as the platform team. Raises GatewayError."""
    started: dict[str, str] = {}
    deliveries: Counter[str] = Counter()
    endings: dict[str, tuple[str, ...]] = {}
    events = 0
    for event in _events(deployment):
        events += 1
        match event.WhichOneof("event"):
            case "operation_started":
                reference = event.operation_started.operation
                operation_id = format_operation_id(reference.operation_id)
                started[operation_id] = reference.endpoint
                if event.operation_started.session_id:
                    deliveries[operation_id] += 1
            case "task_dispatched":
                deliveries[format_operation_id(event.task_dispatched.operation.operation_id)] += 1
            case "operation_ended":
                operation_id = format_operation_id(event.operation_ended.operation.operation_id)
                state = operation_pb2.OperationState.Name(event.operation_ended.state)
                shown = state.removeprefix("OPERATION_STATE_").lower()
                endings[operation_id] = (*endings.get(operation_id, ()), shown)
            case _:
                pass
    return AuditTrail(started=started, deliveries=dict(deliveries), endings=endings, events=events)


def _events(deployment: Deployment) -> Iterator[audit_pb2.AuditEvent]:
    environment = {"ISTHMUS_CONFIG": str(deployment.profiles)}
    profile = load_profile(PLATFORM, environment=environment)
    connection = SyncConnection(channel_settings(profile), token_source(profile, environment))
    request = audit_service_pb2.QueryAuditEventsRequest(page_size=1000)
    try:
        while True:
            page = connection.call(
                lambda channel: audit_service_pb2_grpc.AuditServiceStub(channel).QueryAuditEvents,
                request,
                timeout_seconds=_CALL_SECONDS,
            )
            for record in page.records:
                yield audit_pb2.AuditEvent.FromString(record.event)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
    finally:
        connection.close()
