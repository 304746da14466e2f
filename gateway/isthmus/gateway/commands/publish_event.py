"""Publish an event of an endpoint to one reader; forget events whose time is over."""

from datetime import datetime

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.audit_record import Actor, AuditRecord, EventPublished
from isthmus.gateway.core.feed import PublishedEvent
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EventArrived, UnitOfWork
from isthmus.wire.header import Header


class PublishEvent(Value):
    """An event that was checked and permitted."""

    header: Header
    envelope: bytes
    digest: bytes
    endpoint: Endpoint
    actor: Actor
    rule: str


def publish_event(uow: UnitOfWork, publish: PublishEvent, *, now: datetime) -> bool:
    """Publish an event; False when the reader has one of this identity already: nothing is changed."""
    header = publish.header
    reader, publisher = header.recipient_namespace, header.sender_namespace
    if uow.published_event(reader, publisher, header.operation_id) is not None:
        return False
    uow.put_event(
        PublishedEvent(
            reader=reader,
            publisher=publisher,
            event_id=header.operation_id,
            envelope=publish.envelope,
            expires_at=now + publish.endpoint.retention,
        )
    )
    happening = EventPublished(
        event_id=header.operation_id,
        endpoint=header.endpoint,
        publisher=publisher,
        reader=reader,
        name=header.operation,
        digest=publish.digest,
        event_bytes=len(publish.envelope),
        rule=publish.rule,
    )
    uow.append_audit(AuditRecord(occurred_at=now, actor=publish.actor, happening=happening))
    uow.signal(EventArrived(reader=reader))
    return True


def forget_events(uow: UnitOfWork, *, now: datetime, limit: int) -> int:
    """Delete events that were kept for the retention of their endpoint; return how many."""
    return uow.forget_events(until=now, limit=limit)
