"""Change an endpoint."""

from collections.abc import Set as AbstractSet
from dataclasses import fields, replace
from datetime import datetime

from isthmus.endpoints.endpoint import Endpoint
from isthmus.endpoints.settings import EndpointSettings, settings_of
from isthmus.endpoints.visibility import is_visible
from isthmus.gateway.commands.create_endpoint import check_recorded_queue, check_settings, put_endpoint
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.errors import AccessDeniedError, ConflictError, NotFoundError
from isthmus.gateway.ports import UnitOfWork
from isthmus.policies.decision import Action, Authorizer, Question


def update_endpoint(
    uow: UnitOfWork,
    *,
    name: str,
    settings: EndpointSettings,
    changed: AbstractSet[str],
    expected_etag: str,
    etag: str,
    actor: Actor,
    authorizer: Authorizer,
    now: datetime,
) -> Endpoint:
    """Set the changed settings of an endpoint. An empty ``expected_etag`` takes whichever version is there.

    Raises:
        NotFoundError: there is no such endpoint that the actor may know of.
        AccessDeniedError: the actor does not own it.
        ConflictError: somebody else changed it since.
        InvalidRequestError: a setting does not make sense.
        PreconditionError: the owner signed that it is served on another task queue.
    """
    existing = administered_endpoint(
        uow, name=name, expected_etag=expected_etag, actor=actor, authorizer=authorizer
    )
    merged = replace(
        settings_of(existing),
        **{field: getattr(settings, field) for field in changed},
    )
    check_settings(merged)
    if existing.record is not None:
        check_recorded_queue(existing.name, existing.task_queue, merged.task_queue)
    endpoint = replace(
        existing,
        **{field.name: getattr(merged, field.name) for field in fields(merged)},
        etag=etag,
        updated_at=now,
    )
    put_endpoint(uow, endpoint, change="updated", actor=actor, now=now, fields=tuple(sorted(changed)))
    return endpoint


def visible_endpoint(uow: UnitOfWork, name: str, actor: Actor) -> Endpoint:
    """Return an endpoint that the actor may know of. Raises NotFoundError."""
    endpoint = uow.endpoint(name)
    if endpoint is None or not is_visible(endpoint, actor.namespace):
        raise NotFoundError(
            f"there is no endpoint {name}",
            reason="ENDPOINT_NOT_FOUND",
            fix="Check its name; its owner may have to put your namespace on its allow list.",
        )
    return endpoint


def administered_endpoint(
    uow: UnitOfWork, *, name: str, expected_etag: str, actor: Actor, authorizer: Authorizer
) -> Endpoint:
    """Return an endpoint that the actor may change.

    Raises:
        NotFoundError: there is no such endpoint that the actor may know of.
        AccessDeniedError: the actor may not change it.
        ConflictError: its etag is another one.
    """
    endpoint = visible_endpoint(uow, name, actor)
    decision = authorizer.decide(
        Question(
            action=Action.ADMINISTER,
            namespace=actor.namespace,
            principal=actor.principal,
            endpoint=endpoint,
        )
    )
    if not decision.allowed:
        raise AccessDeniedError(
            f"{name} belongs to the namespace {endpoint.namespace}",
            reason="NOT_THE_OWNER",
            fix=f"Ask the team of {endpoint.namespace}.",
        )
    check_etag(endpoint, expected_etag)
    return endpoint


def check_etag(endpoint: Endpoint, expected_etag: str) -> None:
    """Refuse a change to a version that is not there any more. Raises ConflictError."""
    if expected_etag not in {"", endpoint.etag}:
        raise ConflictError(
            f"{endpoint.name} was changed since",
            reason="ETAG_MISMATCH",
            fix="Read it again, and repeat the change.",
        )
