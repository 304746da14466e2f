"""Delete an endpoint: at once, or when the operations that are open have ended."""

from dataclasses import replace
from datetime import datetime

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.commands.create_endpoint import put_endpoint
from isthmus.gateway.commands.update_endpoint import administered_endpoint
from isthmus.gateway.core.audit_record import GATEWAY, Actor
from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.ports import UnitOfWork
from isthmus.policies.decision import Authorizer


def delete_endpoint(
    uow: UnitOfWork,
    *,
    name: str,
    expected_etag: str,
    drain: bool,
    etag: str,
    actor: Actor,
    authorizer: Authorizer,
    now: datetime,
) -> Endpoint | None:
    """Delete an endpoint that has no open operations. Its name stays reserved for its owner for 400 days.

    With ``drain`` one that has some takes no new ones and is deleted when they have ended. Returns the
    endpoint while it drains, None when it is deleted.

    Raises:
        NotFoundError: there is no such endpoint that the actor may know of.
        AccessDeniedError: the actor does not own it.
        ConflictError: somebody else changed it since.
        PreconditionError: it has open operations, and is not to drain.
    """
    existing = administered_endpoint(
        uow, name=name, expected_etag=expected_etag, actor=actor, authorizer=authorizer
    )
    opened = uow.count_open_operations(name)
    if opened == 0:
        _delete(uow, existing, etag=etag, actor=actor, now=now)
        return None
    if not drain:
        raise in_use(name, opened)
    if existing.draining_since is not None and existing.offered_to is None:
        return existing
    draining = replace(
        existing,
        etag=etag,
        updated_at=now,
        draining_since=existing.draining_since or now,
        offered_to=None,
    )
    put_endpoint(uow, draining, change="draining", actor=actor, now=now)
    return draining


def finish_draining(uow: UnitOfWork, name: str, *, etag: str, now: datetime) -> bool:
    """Delete an endpoint that drains to be deleted, if nothing is open any more; return whether it did."""
    endpoint = uow.endpoint(name)
    if endpoint is None or endpoint.deleted_at is not None or endpoint.offered_to is not None:
        return False
    if endpoint.draining_since is None or uow.count_open_operations(name):
        return False
    _delete(uow, endpoint, etag=etag, actor=GATEWAY, now=now)
    return True


def in_use(name: str, opened: int) -> PreconditionError:
    """Return the answer to who wants an endpoint gone that has open operations."""
    return PreconditionError(
        f"{name} has {opened} open operations",
        reason="ENDPOINT_IN_USE",
        fix="Let it drain: it takes no new ones then. Or end them.",
    )


def _delete(uow: UnitOfWork, endpoint: Endpoint, *, etag: str, actor: Actor, now: datetime) -> None:
    deleted = replace(
        endpoint, etag=etag, updated_at=now, deleted_at=now, draining_since=None, offered_to=None
    )
    put_endpoint(uow, deleted, change="deleted", actor=actor, now=now)
