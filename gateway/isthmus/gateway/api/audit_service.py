# ruff: noqa: ARG002, N802 (gRPC names the methods and passes each a context)
"""AuditService: read and follow the log. A namespace sees what it took part in, the platform everything."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial

from msgspec.structs import replace

from isthmus.gateway.api.audit_watch import AuditWatch
from isthmus.gateway.api.caller import current_principal
from isthmus.gateway.api.moments import moment
from isthmus.gateway.api.paging import MAX_PAGE_SIZE, page_size, page_start_position, page_token
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import AccessDeniedError, InvalidRequestError
from isthmus.gateway.ports import AuditFilter, Clock, Reader, Store, StoredAuditEvent
from isthmus.v1 import audit_pb2
from isthmus.v1 import audit_service_pb2 as pb
from isthmus.v1 import audit_service_pb2_grpc as pb_grpc
from isthmus.wire.names import check_endpoint, check_namespace, check_operation_id

_DEFAULT_PAGE = 100
_TAIL_BATCH = 500
_MAX_LOOKS_BACK = 50
_TYPES = frozenset(field.name for field in audit_pb2.AuditEvent.DESCRIPTOR.oneofs_by_name["event"].fields)
_MAX_POSITION = 2**63 - 1


class AuditService(pb_grpc.AuditServiceServicer):
    """The audit log, as far as the caller may see it."""

    def __init__(self, store: Store, *, clock: Clock, watch: AuditWatch) -> None:
        self._store = store
        self._clock = clock
        self._watch = watch

    async def QueryAuditEvents(
        self, request: pb.QueryAuditEventsRequest, context: object
    ) -> pb.QueryAuditEventsResponse:
        """Return a page of events, oldest first."""
        size = page_size(request.page_size, _DEFAULT_PAGE)
        wanted = replace(
            readable(request.filter, current_principal()),
            after=page_start_position(request.page_token),
            limit=size + 1,
        )
        found = await self._store.read(lambda reader: reader.audit_events(wanted))
        page = found[:size]
        return pb.QueryAuditEventsResponse(
            records=_messages(page),
            next_page_token=page_token(str(page[-1].position)) if len(found) > size else "",
        )

    async def TailAuditEvents(
        self, request: pb.TailAuditEventsRequest, context: object
    ) -> AsyncIterator[pb.TailAuditEventsResponse]:
        """Follow the log until the client goes, the credential expires or the gateway drains.

        The client goes on after the last position that it got. It reads at its own pace: nothing is queued.
        """
        principal = current_principal()
        wanted = readable(request.filter, principal)
        if request.last and request.after_position:
            raise InvalidRequestError(
                "a tail begins at a position or with the last events, not both",
                fix="Give one of them.",
            )
        if request.after_position > _MAX_POSITION:
            raise InvalidRequestError(
                "after_position is out of range",
                fix="Give a position that the log showed.",
            )
        with self._watch.follow() as follower:
            last = min(request.last, MAX_PAGE_SIZE)
            after = request.after_position
            if last:
                found = await self._store.read(lambda reader: last_events(reader, wanted, last))
                if found:
                    yield pb.TailAuditEventsResponse(records=_messages(found))
                    after = found[-1].position
            while not follower.is_over:
                # Before looking: what is committed after the look wakes the wait below.
                news = follower.news()
                batch = replace(wanted, after=after, limit=_TAIL_BATCH)
                found = list(await self._store.read(partial(_page, wanted=batch)))
                if found:
                    yield pb.TailAuditEventsResponse(records=_messages(found))
                    after = found[-1].position
                    continue
                if not await self._wait(news, principal.expires_at):
                    return

    async def _wait(self, news: "asyncio.Future[None]", until: datetime) -> bool:
        """Wait for news; False when the credential expired first."""
        seconds = (until - self._clock.now()).total_seconds()
        done, _ = await asyncio.wait({news}, timeout=max(seconds, 0))
        return bool(done)


def readable(wanted: pb.AuditFilter, principal: Principal) -> AuditFilter:
    """Return the filter, narrowed to what the principal may see.

    Raises:
        AccessDeniedError: it asks for events of another namespace.
        InvalidRequestError: an event type is unknown, or a time is out of range.
        WireFormatError: a name or an id is malformed.
    """
    namespace = check_namespace(wanted.namespace) if wanted.namespace else ""
    if not principal.platform:
        if namespace not in {"", principal.namespace}:
            raise AccessDeniedError(
                f"{principal.namespace} sees only the events that it took part in",
                reason="NOT_THE_NAMESPACE",
                fix="Leave the namespace of the filter empty.",
            )
        namespace = principal.namespace
    unknown = sorted(set(wanted.types) - _TYPES)
    if unknown:
        raise InvalidRequestError(
            f"there are no events of type {', '.join(unknown)}",
            reason="AUDIT_EVENT_TYPE",
            fix=f"Types are: {', '.join(sorted(_TYPES))}.",
        )
    return AuditFilter(
        namespace=namespace,
        endpoint=check_endpoint(wanted.endpoint) if wanted.endpoint else "",
        operation_id=check_operation_id(wanted.operation_id) if wanted.operation_id else b"",
        since=moment(wanted.since) if wanted.HasField("since") else None,
        until=moment(wanted.until) if wanted.HasField("until") else None,
        types=frozenset(wanted.types),
    )


def last_events(reader: Reader, wanted: AuditFilter, count: int) -> list[StoredAuditEvent]:
    """Return the last events that match, oldest first; it looks at the last 50,000 events at most.

    The log is read forward only, so this looks at windows from its end backwards.
    """
    found: list[StoredAuditEvent] = []
    end = reader.last_audit_position()
    for _ in range(_MAX_LOOKS_BACK):
        begin = max(end - MAX_PAGE_SIZE, 0)
        window = reader.audit_events(replace(wanted, after=begin, limit=MAX_PAGE_SIZE))
        found = [event for event in window if event.position <= end] + found
        if len(found) >= count or begin == 0:
            break
        end = begin
    return found[-count:]


def _page(reader: Reader, wanted: AuditFilter) -> Sequence[StoredAuditEvent]:
    return reader.audit_events(wanted)


def _messages(events: Sequence[StoredAuditEvent]) -> list[pb.AuditRecord]:
    return [pb.AuditRecord(position=event.position, event=event.event) for event in events]
