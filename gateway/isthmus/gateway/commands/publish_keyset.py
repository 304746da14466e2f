"""Publish the next keyset of a namespace."""

import hashlib
from datetime import datetime

from isthmus.gateway.core.audit_record import Actor, AuditRecord, KeysetPublished
from isthmus.gateway.core.errors import AccessDeniedError, ConflictError, PreconditionError
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import RegistryChanged, StoredKeyset, UnitOfWork
from isthmus.wire.keyset import root_fingerprint
from isthmus.wire.names import NamespaceName


class SignedKeyset(Value):
    """A keyset that is well-formed, in date, and carries a valid signature of ``root_public_key``."""

    namespace: NamespaceName
    version: int
    previous_hash: bytes
    keyset: bytes
    root_public_key: bytes
    signature: bytes


def publish_keyset(uow: UnitOfWork, signed: SignedKeyset, *, actor: Actor, now: datetime) -> None:
    """Append a keyset to its namespace's chain. Publishing the newest one again changes nothing.

    The chain may begin with any version, and go on with any later one: a gateway that is new, lost its
    database or was restored from a backup goes on where the namespace is. It is a directory, no authority:
    peers remember the newest version that they saw, and its hash.

    Raises:
        AccessDeniedError: it is another namespace's.
        PreconditionError: another root signed the keyset before.
        ConflictError: it is not newer than the newest keyset, or the next one and does not name it.
    """
    if signed.namespace != actor.namespace:
        raise AccessDeniedError(
            f"the keyset is of the namespace {signed.namespace}", reason="NOT_THE_NAMESPACE"
        )
    newest = uow.keyset(signed.namespace)
    if newest is not None and newest.keyset == signed.keyset:
        if newest.root_public_key != signed.root_public_key:
            raise _root_changed()
        return
    _check_chain(newest, signed)
    uow.insert_keyset(
        StoredKeyset(
            namespace=signed.namespace,
            version=signed.version,
            keyset=signed.keyset,
            root_public_key=signed.root_public_key,
            signature=signed.signature,
            published_at=now,
        )
    )
    happening = KeysetPublished(
        namespace=signed.namespace,
        version=signed.version,
        keyset_hash=hashlib.sha256(signed.keyset).digest(),
        root_fingerprint=root_fingerprint(signed.root_public_key),
    )
    uow.append_audit(AuditRecord(occurred_at=now, actor=actor, happening=happening))
    uow.signal(RegistryChanged(namespace=signed.namespace))


def _check_chain(newest: StoredKeyset | None, signed: SignedKeyset) -> None:
    if newest is None:
        return
    if newest.root_public_key != signed.root_public_key:
        raise _root_changed()
    if signed.version > newest.version + 1:
        return  # those between are forgotten here, not where they were seen
    if signed.version <= newest.version:
        raise ConflictError(
            f"version {newest.version} is there already; {signed.version} does not follow it",
            reason="KEYSET_VERSION",
            fix="Fetch the newest keyset, and build the next one on it.",
        )
    if signed.previous_hash != hashlib.sha256(newest.keyset).digest():
        raise ConflictError(
            "the keyset does not name the one before it",
            reason="KEYSET_PREVIOUS_HASH",
            fix="Fetch the newest keyset, and build the next one on it.",
        )


def _root_changed() -> PreconditionError:
    return PreconditionError(
        "another root signed the keysets of this namespace so far",
        reason="ROOT_CHANGED",
        fix="Sign with the root that peers have pinned.",
    )
