"""Delete an endpoint."""

from dataclasses import replace
from datetime import datetime

from isthmus.gateway.commands.create_endpoint import put_endpoint
from isthmus.gateway.commands.update_endpoint import administered_endpoint
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.ports import UnitOfWork
from isthmus.policies.decision import Authorizer


def delete_endpoint(
    uow: UnitOfWork,
    *,
    name: str,
    expected_etag: str,
    etag: str,
    actor: Actor,
    authorizer: Authorizer,
    now: datetime,
) -> None:
    """Delete an endpoint that has no open operations. Its name stays reserved for its owner.

    Raises:
        NotFoundError: there is no such endpoint that the actor may know of.
        AccessDeniedError: the actor does not own it.
        ConflictError: somebody else changed it since.
        PreconditionError: it has open operations.
    """
    existing = administered_endpoint(
        uow, name=name, expected_etag=expected_etag, actor=actor, authorizer=authorizer
    )
    opened = uow.count_open_operations(name)
    if opened:
        raise PreconditionError(
            f"{name} has {opened} open operations",
            reason="ENDPOINT_IN_USE",
            fix="Empty its allow list, then wait for them to end, or end them.",
        )
    deleted = replace(existing, etag=etag, updated_at=now, deleted_at=now)
    put_endpoint(uow, deleted, change="deleted", actor=actor, now=now)
