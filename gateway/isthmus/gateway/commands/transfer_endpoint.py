"""Give an endpoint to another namespace: its owner offers it, the other one accepts it.

Callers notice: what they seal is for the namespace that they pinned, and the gateway refuses it until they
trust the new owner.
"""

from dataclasses import replace
from datetime import datetime

from isthmus.endpoints.endpoint import Endpoint
from isthmus.endpoints.settings import settings_of
from isthmus.gateway.commands.create_endpoint import check_settings, put_endpoint, recorded_terms
from isthmus.gateway.commands.delete_endpoint import in_use
from isthmus.gateway.commands.update_endpoint import administered_endpoint, check_etag, visible_endpoint
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.errors import InvalidRequestError, NotFoundError, PreconditionError
from isthmus.gateway.ports import UnitOfWork
from isthmus.policies.decision import Authorizer
from isthmus.wire.names import NamespaceName


def offer_endpoint(
    uow: UnitOfWork,
    *,
    name: str,
    expected_etag: str,
    namespace: NamespaceName,
    drain: bool,
    etag: str,
    actor: Actor,
    authorizer: Authorizer,
    now: datetime,
) -> Endpoint:
    """Offer an endpoint to a namespace; an offer to another one before is withdrawn.

    Raises:
        NotFoundError: there is no such endpoint that the actor may know of, or no such namespace.
        AccessDeniedError: the actor does not own it.
        ConflictError: somebody else changed it since.
        InvalidRequestError: it belongs to that namespace.
    """
    existing = administered_endpoint(
        uow, name=name, expected_etag=expected_etag, actor=actor, authorizer=authorizer
    )
    if namespace == existing.namespace:
        raise InvalidRequestError(
            f"{name} belongs to {namespace} already",
            reason="ENDPOINT_OWNER",
            fix="Nothing is to be done.",
        )
    if uow.namespace(namespace) is None:
        raise NotFoundError(
            f"there is no namespace {namespace}",
            reason="NAMESPACE_NOT_FOUND",
            fix="Check its name; the platform team makes namespaces: isthmus namespace create.",
        )
    since = (existing.draining_since or now) if drain else None
    if existing.offered_to == namespace and existing.draining_since == since:
        return existing
    offered = replace(existing, etag=etag, updated_at=now, draining_since=since, offered_to=namespace)
    put_endpoint(uow, offered, change="offered", actor=actor, now=now, other=namespace)
    return offered


def accept_endpoint(
    uow: UnitOfWork,
    *,
    name: str,
    expected_etag: str,
    task_queue: str,
    etag: str,
    actor: Actor,
    now: datetime,
) -> Endpoint:
    """Take over an endpoint that is offered to the actor's namespace. All of its settings stay but the queue.

    Raises:
        NotFoundError: there is no such endpoint that the actor may know of.
        PreconditionError: it is not offered to the actor's namespace, it has open operations, or the actor's
            namespace owned it before and signed that it is served on another task queue.
        ConflictError: somebody else changed it since.
        InvalidRequestError: the task queue has no valid name.
    """
    existing = visible_endpoint(uow, name, actor)
    if existing.offered_to != actor.namespace:
        raise PreconditionError(
            f"{name} is not offered to {actor.namespace}",
            reason="ENDPOINT_NOT_OFFERED",
            fix=f"Ask the team of {existing.namespace} to offer it.",
        )
    check_etag(existing, expected_etag)
    check_settings(replace(settings_of(existing), task_queue=task_queue))
    opened = uow.count_open_operations(name)
    if opened:
        raise in_use(name, opened)
    # What the owner before signed says nothing of this one.
    terms = recorded_terms(uow, name, actor.namespace, task_queue=task_queue)
    accepted = replace(
        existing,
        namespace=NamespaceName(actor.namespace),
        task_queue=task_queue,
        record=terms,
        etag=etag,
        updated_at=now,
        draining_since=None,
        offered_to=None,
    )
    put_endpoint(uow, accepted, change="transferred", actor=actor, now=now, other=existing.namespace)
    return accepted


def keep_endpoint(
    uow: UnitOfWork,
    *,
    name: str,
    expected_etag: str,
    etag: str,
    actor: Actor,
    authorizer: Authorizer,
    now: datetime,
) -> Endpoint:
    """Call off the deletion or the offer of an endpoint. One that is neither stays as it is.

    Raises:
        NotFoundError: there is no such endpoint that the actor may know of.
        AccessDeniedError: the actor does not own it.
        ConflictError: somebody else changed it since.
    """
    existing = administered_endpoint(
        uow, name=name, expected_etag=expected_etag, actor=actor, authorizer=authorizer
    )
    if existing.draining_since is None and existing.offered_to is None:
        return existing
    kept = replace(existing, etag=etag, updated_at=now, draining_since=None, offered_to=None)
    put_endpoint(uow, kept, change="kept", actor=actor, now=now)
    return kept
