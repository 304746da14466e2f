"""Finds one message that is kept, whichever operation or event it belongs to."""

from typing import Final

from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import EnvelopeSlot, MessagePlace, Reader, UnitOfWork

SLOTS: Final = {slot.value: slot for slot in EnvelopeSlot}


def find_message(kept: Reader | UnitOfWork, place: MessagePlace, namespace: str) -> bytes | None:
    """Return the envelope at a place, an event as its reader's; None when nothing is there any more."""
    if place.part == MessagePlace.EVENT:
        event = kept.published_event(namespace, place.namespace, place.ident)
        return None if event is None else event.envelope
    key = OperationKey(caller=place.namespace, operation_id=place.ident)
    # Looked up first: whoever changes an operation holds it until the commit.
    if kept.operation(key) is None:
        return None
    if place.part == MessagePlace.SIGNAL:
        return kept.signal_envelope(key, place.number)
    if place.part == MessagePlace.CONTEXT:
        contexts = kept.contexts(key)
        return contexts[place.number] if place.number < len(contexts) else None
    return kept.envelope(key, SLOTS[place.part])
