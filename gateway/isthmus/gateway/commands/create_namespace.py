"""Create a namespace."""

from datetime import datetime

from isthmus.gateway.core.audit_record import Actor, AuditRecord, NamespaceCreated
from isthmus.gateway.core.errors import AlreadyExistsError, InvalidRequestError
from isthmus.gateway.ports import Namespace, RegistryChanged, UnitOfWork
from isthmus.wire.names import NamespaceName

MAX_DESCRIPTION_CHARS = 4096


def create_namespace(
    uow: UnitOfWork, *, name: NamespaceName, description: str, actor: Actor, now: datetime
) -> Namespace:
    """Create a namespace; repeating it with the same description answers with the existing one.

    Raises:
        InvalidRequestError: the description is too long or not printable.
        AlreadyExistsError: it exists with another description.
    """
    printable = all(char.isprintable() or char == "\n" for char in description)
    if len(description) > MAX_DESCRIPTION_CHARS or not printable:
        raise InvalidRequestError(
            f"a description is at most {MAX_DESCRIPTION_CHARS} printable characters and line breaks",
            fix="Give a shorter one, without control characters.",
        )
    existing = uow.namespace(name)
    if existing is not None:
        if existing.description != description:
            raise AlreadyExistsError(
                f"the namespace {name} exists with another description",
                reason="NAMESPACE_EXISTS",
                fix="It stands as it is: leave its description, or take another name.",
            )
        return existing
    namespace = Namespace(name=name, description=description, created_at=now)
    uow.insert_namespace(namespace)
    uow.append_audit(AuditRecord(occurred_at=now, actor=actor, happening=NamespaceCreated(namespace=name)))
    uow.signal(RegistryChanged(namespace=name))
    return namespace
