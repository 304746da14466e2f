"""Create an endpoint."""

from datetime import datetime

from isthmus.endpoints.endpoint import Endpoint, RecordTerms
from isthmus.endpoints.settings import EndpointSettings
from isthmus.gateway.core.audit_record import Actor, AuditRecord, EndpointChanged
from isthmus.gateway.core.errors import AlreadyExistsError, InvalidRequestError, PreconditionError
from isthmus.gateway.core.identity import IDENTITY_LIFE
from isthmus.gateway.ports import RegistryChanged, UnitOfWork
from isthmus.wire.endpoint_record import EndpointRecord
from isthmus.wire.names import EndpointName, NamespaceName

NAME_RESERVED = IDENTITY_LIFE
"""How long nobody else gets the name of a deleted endpoint."""


def create_endpoint(
    uow: UnitOfWork,
    *,
    name: EndpointName,
    settings: EndpointSettings,
    etag: str,
    actor: Actor,
    now: datetime,
) -> Endpoint:
    """Create an endpoint in the actor's namespace.

    Names are unique in the whole deployment. For 400 days the name of a deleted endpoint is free for its
    owner only: nobody takes over what callers pinned, and nothing that was started there is left then.

    Raises:
        InvalidRequestError: a setting does not make sense.
        AlreadyExistsError: the name is taken.
        PreconditionError: what the namespace signed about an endpoint of this name names another task queue.
    """
    check_settings(settings)
    existing = uow.endpoint(name)
    if existing is not None and not _is_free(existing, actor.namespace, now):
        own = existing.namespace == actor.namespace
        raise AlreadyExistsError(
            f"the name {name} is taken",
            reason="ENDPOINT_EXISTS",
            fix="Update the endpoint instead." if own else "Choose another name.",
        )
    terms = recorded_terms(uow, name, actor.namespace, task_queue=settings.task_queue)
    endpoint = Endpoint(
        name=name,
        namespace=NamespaceName(actor.namespace),
        task_queue=settings.task_queue,
        description=settings.description,
        allow=settings.allow,
        retry=settings.retry,
        max_payload_bytes=settings.max_payload_bytes,
        max_schedule_to_close=settings.max_schedule_to_close,
        fair_weights=settings.fair_weights,
        max_operations_per_second=settings.max_operations_per_second,
        max_open_operations=settings.max_open_operations,
        retention=settings.retention,
        circuit=settings.circuit,
        versions=settings.versions,
        record=terms,
        etag=etag,
        created_at=now,
        updated_at=now,
    )
    put_endpoint(uow, endpoint, change="created", actor=actor, now=now)
    return endpoint


def recorded_terms(uow: UnitOfWork, name: str, namespace: str, *, task_queue: str) -> RecordTerms | None:
    """Return what a namespace signed about an endpoint that it gets, or gets back; None: nothing.

    Whoever saw the record believes nothing else, so it holds on.

    Raises:
        PreconditionError: it names another task queue.
    """
    stored = uow.endpoint_record(name, namespace)
    if stored is None:
        return None
    record = EndpointRecord.decode(stored.record)
    check_recorded_queue(record.endpoint, record.task_queue, task_queue)
    return terms_of(record)


def check_recorded_queue(name: str, recorded: str, task_queue: str) -> None:
    """Refuse a task queue that is not the one of the record. Raises PreconditionError."""
    if recorded != task_queue:
        raise PreconditionError(
            f"the signed record of {name} names the task queue {recorded}, not {task_queue}",
            reason="ENDPOINT_RECORD",
            fix=f"sign another one: isthmus endpoint publish {name} --task-queue {task_queue}",
        )


def terms_of(record: EndpointRecord) -> RecordTerms:
    """Return what a record demands of requests."""
    return RecordTerms(
        version=record.version, recipients=record.request_recipients, contract_hash=record.contract_hash
    )


def _is_free(existing: Endpoint, namespace: str, now: datetime) -> bool:
    if existing.deleted_at is None:
        return False
    return existing.namespace == namespace or now >= existing.deleted_at + NAME_RESERVED


def check_settings(settings: EndpointSettings) -> None:
    """Refuse settings that do not make sense, naming every problem. Raises InvalidRequestError."""
    problems = list(settings.problems())
    if problems:
        raise InvalidRequestError(
            "; ".join(problems), reason="ENDPOINT_SETTINGS", fix="Give values within these bounds."
        )


def put_endpoint(
    uow: UnitOfWork,
    endpoint: Endpoint,
    *,
    change: str,
    actor: Actor,
    now: datetime,
    fields: tuple[str, ...] = (),
    other: str = "",
) -> None:
    """Write an endpoint together with the record of what changed."""
    uow.put_endpoint(endpoint)
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=actor,
            happening=EndpointChanged(
                endpoint=endpoint.name,
                namespace=endpoint.namespace,
                change=change,
                fields=fields,
                other=other,
            ),
        ),
    )
    uow.signal(RegistryChanged(namespace=endpoint.namespace, endpoint=endpoint.name))
    if other:
        uow.signal(RegistryChanged(namespace=other, endpoint=endpoint.name))
