"""Publish what the owner of an endpoint signed about it: the endpoint is served as it says from then on."""

from dataclasses import replace
from datetime import datetime

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.commands.create_endpoint import terms_of
from isthmus.gateway.commands.update_endpoint import administered_endpoint
from isthmus.gateway.core.audit_record import Actor, AuditRecord, EndpointRecordPublished
from isthmus.gateway.core.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PreconditionError,
)
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import RegistryChanged, StoredEndpointRecord, UnitOfWork
from isthmus.policies.decision import Authorizer
from isthmus.wire.chain import ChainError, ChainProblem, Mark
from isthmus.wire.endpoint_record import (
    EndpointRecord,
    SignedEndpointRecord,
    VerifiedRecord,
    check_record_progress,
    check_record_time,
    verify_record,
)
from isthmus.wire.names import check_endpoint, check_namespace
from isthmus.wire.trust_statement import (
    Delegation,
    SignedStatement,
    decode_signed_keyset,
    encode_signed_statement,
)


class PublishEndpointRecord(Value):
    """A record that was parsed, and nothing else."""

    record: EndpointRecord
    signed: SignedStatement


def publish_endpoint_record(
    uow: UnitOfWork,
    request: PublishEndpointRecord,
    *,
    etag: str,
    actor: Actor,
    authorizer: Authorizer,
    trust_domain: str,
    wall_now: datetime,
    now: datetime,
) -> Endpoint:
    """Publish a record that follows the newest one. Repeated, it changes nothing.

    As with keysets, versions may begin anywhere and leave some out: a gateway that lost its database goes on
    where the namespace is.

    Raises:
        NotFoundError: there is no such endpoint that the actor may know of, or no such recipient.
        AccessDeniedError: the actor does not own it.
        InvalidRequestError: the record breaks a rule, or the signer of its namespace did not sign it.
        ConflictError: it does not follow the newest one.
        PreconditionError: the namespace has no keyset, whose delegation says who the signer is.
    """
    record = request.record
    existing = administered_endpoint(
        uow, name=record.endpoint, expected_etag="", actor=actor, authorizer=authorizer
    )
    verified = _verified(uow, request, existing, trust_domain, wall_now)
    newest = uow.endpoint_record(existing.name, existing.namespace)
    if newest is not None:
        if newest.record == request.signed.statement:
            return existing
        _check_follows(verified, newest)
    for recipient in record.required_recipients:
        if uow.namespace(recipient) is None:
            raise NotFoundError(
                f"there is no namespace {recipient}",
                reason="NAMESPACE_NOT_FOUND",
                fix="check its name; the platform team makes namespaces: isthmus namespace create",
            )
    uow.put_endpoint_record(
        StoredEndpointRecord(
            endpoint=check_endpoint(record.endpoint),
            namespace=check_namespace(record.namespace),
            version=record.version,
            record=request.signed.statement,
            message=encode_signed_statement(request.signed),
            published_at=now,
        )
    )
    endpoint = replace(
        existing, task_queue=record.task_queue, record=terms_of(record), etag=etag, updated_at=now
    )
    uow.put_endpoint(endpoint)
    happening = EndpointRecordPublished(
        endpoint=record.endpoint,
        namespace=record.namespace,
        version=record.version,
        record_hash=verified.mark.hash,
        task_queue=record.task_queue,
        required_recipients=record.required_recipients,
    )
    uow.append_audit(AuditRecord(occurred_at=now, actor=actor, happening=happening))
    uow.signal(RegistryChanged(namespace=endpoint.namespace, endpoint=endpoint.name))
    return endpoint


def _verified(
    uow: UnitOfWork, request: PublishEndpointRecord, endpoint: Endpoint, trust_domain: str, now: datetime
) -> VerifiedRecord:
    keyset = uow.keyset(endpoint.namespace)
    if keyset is None:
        raise PreconditionError(
            f"{endpoint.namespace} has published no keyset, so nobody knows its signer",
            reason="KEYSET_NOT_FOUND",
            fix="isthmus keys publish",
        )
    delegation = Delegation.decode(decode_signed_keyset(keyset.message).delegation.statement)
    try:
        verified = verify_record(
            SignedEndpointRecord(record=request.signed),
            trust_domain=trust_domain,
            namespace=endpoint.namespace,
            endpoint=endpoint.name,
            signer=delegation.signer,
        )
        check_record_time(verified.record, int(now.timestamp() * 1000))
    except ChainError as error:
        raise InvalidRequestError(
            f"the record is refused: {error} ({error.problem})",
            reason="ENDPOINT_RECORD",
            fix="sign it with the newest keyring: isthmus endpoint publish",
        ) from None
    return verified


def _check_follows(verified: VerifiedRecord, newest: StoredEndpointRecord) -> None:
    seen = Mark(version=newest.version, hash=SignedStatement(statement=newest.record).hash)
    try:
        check_record_progress(verified, seen)
    except ChainError as error:
        hashed = error.problem is ChainProblem.CHAIN
        raise ConflictError(
            f"the record does not follow the one that is here: {error} ({error.problem})",
            reason="ENDPOINT_RECORD_PREVIOUS_HASH" if hashed else "ENDPOINT_RECORD_VERSION",
            fix="Fetch the newest record, and build the next one on it.",
        ) from None
