"""Publish a keyset of a namespace, with the roots, the delegation and the renewal that vouch for it."""

from datetime import datetime

from isthmus.gateway.core.audit_record import Actor, AuditRecord, KeysetPublished
from isthmus.gateway.core.errors import AccessDeniedError, ConflictError, PreconditionError
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import RegistryChanged, StoredKeyset, UnitOfWork
from isthmus.wire.chain import Chain, ChainError, ChainProblem, check_progress, read_marks
from isthmus.wire.names import NamespaceName
from isthmus.wire.trust_statement import decode_signed_keyset


class SignedKeyset(Value):
    """A keyset whose chain is verified from its first root on, and which is in date."""

    namespace: NamespaceName
    chain: Chain
    keyset: bytes
    message: bytes
    """All of it as relayed: a serialized ``isthmus.v1.SignedKeyset``."""


def publish_keyset(uow: UnitOfWork, signed: SignedKeyset, *, actor: Actor, now: datetime) -> None:
    """Replace the keyset of a namespace by one that is not older in any part. Repeated, it changes nothing.

    The keysets may begin with any version, and leave some out: a gateway that is new, lost its
    database or was restored from a backup goes on where the namespace is. It is a directory, no authority:
    peers remember the newest version that they saw, and its hash.

    Raises:
        AccessDeniedError: it is another namespace's.
        PreconditionError: the root that vouched for the keysets so far does not vouch for this one.
        ConflictError: a part of it is older than what is here, or another one of its version.
    """
    if signed.namespace != actor.namespace:
        raise AccessDeniedError(
            f"the keyset is of the namespace {signed.namespace}",
            reason="NOT_THE_NAMESPACE",
            fix="Publish it with the credential of that namespace: the profile has another one.",
        )
    newest = uow.keyset(signed.namespace)
    if newest is not None and newest.message == signed.message:
        return
    if newest is not None:
        _check_follows(newest, signed)
    marks = signed.chain.marks
    uow.put_keyset(
        StoredKeyset(
            namespace=signed.namespace,
            version=marks.keyset.version,
            keyset=signed.keyset,
            message=signed.message,
            published_at=now,
        )
    )
    happening = KeysetPublished(
        namespace=signed.namespace,
        version=marks.keyset.version,
        keyset_hash=marks.keyset.hash,
        root_fingerprint=marks.root.hash,
    )
    uow.append_audit(AuditRecord(occurred_at=now, actor=actor, happening=happening))
    uow.signal(RegistryChanged(namespace=signed.namespace))


def _check_follows(newest: StoredKeyset, signed: SignedKeyset) -> None:
    seen, expires_at_ms = read_marks(decode_signed_keyset(newest.message))
    try:
        check_progress(signed.chain, seen)
    except ChainError as error:
        if seen.root not in signed.chain.roots:
            raise PreconditionError(
                "another root vouched for the keysets of this namespace so far",
                reason="ROOT_CHANGED",
                fix="Publish with all roots; a new root is signed by the one before.",
            ) from None
        raise ConflictError(
            f"the keyset does not follow the one that is here: {error} ({error.problem})",
            reason="KEYSET_PREVIOUS_HASH" if error.problem is ChainProblem.CHAIN else "KEYSET_VERSION",
            fix="Fetch the newest keyset, and build the next one on it.",
        ) from None
    same = seen == signed.chain.marks
    if same and signed.chain.expires_at_ms < expires_at_ms:
        raise ConflictError(
            "the keyset that is here is renewed for longer",
            reason="KEYSET_VERSION",
            fix="Fetch the newest keyset, and renew that one.",
        )
