"""Let a namespace seal what is kept for it to another of its keys: its own wraps change, and nothing else."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import structs

from isthmus.gateway.commands.kept_message import SLOTS, find_message
from isthmus.gateway.core.audit_record import Actor, AuditRecord, MessagesRewrapped
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import MessagePlace, UnitOfWork
from isthmus.wire.envelope import SealedWrap, encode_envelope, header_hash, parse_envelope


class Rewrap(Value):
    """One message, and the wrap that replaces the namespace's own."""

    place: MessagePlace
    header_hash: bytes
    old_key_id: bytes
    new_key_id: bytes
    wrap: bytes


def rewrap_messages(uow: UnitOfWork, rewraps: Sequence[Rewrap], *, actor: Actor, now: datetime) -> int:
    """Replace wraps of the actor's namespace; return how many were replaced.

    A message that is gone, was replaced by another one, or is not sealed to the old key is left alone: what
    has been done before is not done again, so a call can be repeated.
    """
    replaced: dict[bytes, int] = {}
    for rewrap in rewraps:
        kept = find_message(uow, rewrap.place, actor.namespace)
        changed = None if kept is None else _rewrapped(kept, rewrap, actor.namespace)
        if changed is not None:
            _put(uow, rewrap.place, actor.namespace, changed)
            replaced[rewrap.new_key_id] = replaced.get(rewrap.new_key_id, 0) + 1
    for key_id, count in replaced.items():
        happening = MessagesRewrapped(namespace=actor.namespace, messages=count, key_id=key_id)
        uow.append_audit(AuditRecord(occurred_at=now, actor=actor, happening=happening))
    return sum(replaced.values())


def _rewrapped(kept: bytes, rewrap: Rewrap, namespace: str) -> bytes | None:
    envelope = parse_envelope(kept)
    if header_hash(envelope.header_bytes) != rewrap.header_hash:
        return None
    wraps = list(envelope.wraps)
    for index, wrap in enumerate(wraps):
        fits = len(wrap.ciphertext) == len(rewrap.wrap)
        if wrap.namespace == namespace and wrap.key_id == rewrap.old_key_id and fits:
            wraps[index] = SealedWrap(namespace, rewrap.new_key_id, rewrap.wrap)
            return encode_envelope(envelope._replace(wraps=tuple(wraps)))
    return None


def _put(uow: UnitOfWork, place: MessagePlace, namespace: str, envelope: bytes) -> None:
    if place.part == MessagePlace.EVENT:
        event = uow.published_event(namespace, place.namespace, place.ident)
        if event is not None:
            uow.put_event(structs.replace(event, envelope=envelope))
        return
    key = OperationKey(caller=place.namespace, operation_id=place.ident)
    if place.part == MessagePlace.SIGNAL:
        uow.put_signal_envelope(key, place.number, envelope)
    elif place.part == MessagePlace.CONTEXT:
        uow.put_context(key, place.number, envelope)
    else:
        uow.put_envelope(key, SLOTS[place.part], envelope)
