"""What is kept for a namespace and to which of its keys it is sealed; and seals it to another one."""

import re
from functools import partial

from isthmus.gateway.api.paging import page_start, page_token
from isthmus.gateway.api.registry_cache import RegistryCache
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.kept_message import find_message
from isthmus.gateway.commands.rewrap_messages import Rewrap, rewrap_messages
from isthmus.gateway.core.errors import InvalidRequestError, NotFoundError, PreconditionError
from isthmus.gateway.ports import Clock, EnvelopeSlot, MessagePlace, Reader, SealedPage, Store
from isthmus.v1 import key_service_pb2 as pb
from isthmus.wire.envelope import MAX_WRAP_BYTES, header_hash, parse_head
from isthmus.wire.names import (
    DIGEST_BYTES,
    KEY_ID_BYTES,
    OperationId,
    check_namespace,
)

MAX_REWRAPS = 64
_DEFAULT_OPERATIONS = 128
_MOST_OPERATIONS = 256
_PARTS = frozenset(
    {slot.value for slot in EnvelopeSlot} | {MessagePlace.CONTEXT, MessagePlace.SIGNAL, MessagePlace.EVENT}
)
_PLACE = re.compile(r"([^/]+)/([0-9a-f]{32})/([a-z_]+)/([0-9]{1,6})")


class SealedMessages:
    """Lists and rewraps."""

    def __init__(self, store: Store, registry: RegistryCache, *, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock

    async def page(
        self, principal: Principal, request: pb.ListSealedMessagesRequest
    ) -> pb.ListSealedMessagesResponse:
        """Return a page of what is sealed to the principal's namespace. Raises InvalidRequestError."""
        if len(request.key_id) not in {0, KEY_ID_BYTES}:
            raise InvalidRequestError(f"a key id is {KEY_ID_BYTES} bytes", reason="KEY_ID")
        most = min(request.page_size or _DEFAULT_OPERATIONS, _MOST_OPERATIONS)
        after = page_start(request.page_token)
        namespace = principal.namespace

        def read(reader: Reader) -> SealedPage:
            return reader.sealed_messages(namespace, after, most)

        try:
            page = await self._store.read(read)
        except ValueError:
            raise InvalidRequestError(
                "the page token is not one of this gateway", reason="PAGE_TOKEN"
            ) from None
        response = pb.ListSealedMessagesResponse(next_page_token=page_token(page.next) if page.next else "")
        for kept in page.heads:
            header, wraps = parse_head(kept.head)
            for wrap in wraps:
                if wrap.namespace == namespace and request.key_id in {b"", wrap.key_id}:
                    response.messages.add(
                        place=_text(kept.place),
                        key_id=wrap.key_id,
                        open=kept.is_open,
                        header_hash=header_hash(header),
                        wrap=wrap.ciphertext if request.with_wraps else b"",
                    )
        return response

    async def get(
        self, principal: Principal, request: pb.GetSealedMessageRequest
    ) -> pb.GetSealedMessageResponse:
        """Return a message of which the principal's namespace is a recipient.

        Raises:
            InvalidRequestError: that is no place.
            NotFoundError: nothing is kept there any more, or nothing for this namespace.
        """
        place, namespace = _place(request.place), principal.namespace
        kept = await self._store.read(partial(find_message, place=place, namespace=namespace))
        if kept is None or namespace not in [wrap.namespace for wrap in parse_head(kept)[1]]:
            raise NotFoundError(
                "no message for this namespace is kept there",
                reason="MESSAGE_NOT_FOUND",
                fix="List the messages again: what was kept too long is gone, with its operation.",
            )
        return pb.GetSealedMessageResponse(envelope=kept)

    async def rewrap(
        self, principal: Principal, request: pb.RewrapMessagesRequest
    ) -> pb.RewrapMessagesResponse:
        """Replace wraps of the principal's namespace.

        Raises:
            InvalidRequestError: something in the request is not what it must be.
            PreconditionError: a new key is not an active one of the namespace.
        """
        if not 0 < len(request.rewraps) <= MAX_REWRAPS:
            raise InvalidRequestError(f"a request has 1 to {MAX_REWRAPS} rewraps", reason="REWRAPS")
        rewraps = [_rewrap(message) for message in request.rewraps]
        active = await self._registry.active_keys(principal.namespace)
        for rewrap in rewraps:
            if active is None or rewrap.new_key_id not in active.encryption:
                raise PreconditionError(
                    "a new key is not an active encryption key of the namespace's newest keyset",
                    reason="KEY_NOT_ACTIVE",
                    fix="Publish it first, with: isthmus keys publish",
                )
        command = partial(rewrap_messages, rewraps=rewraps, actor=principal.actor, now=self._clock.now())
        return pb.RewrapMessagesResponse(replaced=await self._store.transact(command))


def _text(place: MessagePlace) -> str:
    return f"{place.namespace}/{place.ident.hex()}/{place.part}/{place.number}"


def _place(text: str) -> MessagePlace:
    found = _PLACE.fullmatch(text)
    if found is None or found[3] not in _PARTS:
        raise InvalidRequestError("a place is what ListSealedMessages said", reason="PLACE")
    return MessagePlace(
        namespace=check_namespace(found[1]),
        ident=OperationId(bytes.fromhex(found[2])),
        part=found[3],
        number=int(found[4]),
    )


def _rewrap(message: pb.Rewrap) -> Rewrap:
    place = _place(message.place)
    sizes = (
        len(message.header_hash) == DIGEST_BYTES,
        len(message.old_key_id) == len(message.new_key_id) == KEY_ID_BYTES,
        0 < len(message.wrap) <= MAX_WRAP_BYTES,
    )
    if not all(sizes):
        raise InvalidRequestError("a rewrap is not what ListSealedMessages said", reason="REWRAPS")
    return Rewrap(
        place=place,
        header_hash=message.header_hash,
        old_key_id=message.old_key_id,
        new_key_id=message.new_key_id,
        wrap=message.wrap,
    )
