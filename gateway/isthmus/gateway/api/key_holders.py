"""Who of a namespace lives and which keys it has at hand: what processes say, and what their team is told."""

from datetime import timedelta
from functools import partial

from isthmus.gateway.api.moments import timestamp
from isthmus.gateway.api.paging import page_size, page_start, page_token
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.report_keys import report_keys
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.ports import Clock, KeyHolder, Store
from isthmus.v1 import key_service_pb2 as pb
from isthmus.wire.chain import MAX_KEYS
from isthmus.wire.names import HOLDER_ID_BYTES, KEY_ID_BYTES

MAX_IDENTITY_CHARS = 200
LEASE = timedelta(minutes=5)
"""No longer than others keep a keyset: a process that died holds a rotation up no longer than those."""
_DEFAULT_HOLDERS = 200


class KeyHolders:
    """Takes reports, and lists them to the namespace that they are about."""

    def __init__(self, store: Store, *, clock: Clock, lease: timedelta = LEASE) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease

    async def report(self, principal: Principal, request: pb.ReportKeysRequest) -> pb.ReportKeysResponse:
        """Remember what a process of the principal's namespace has.

        Raises:
            InvalidRequestError: something in the report is not what it must be.
            ExhaustedError: the namespace has too many processes.
        """
        now = self._clock.now()
        holder = KeyHolder(
            namespace=principal.namespace,
            holder_id=_holder_id(request.holder_id),
            principal=principal.name,
            identity=_identity(request.identity),
            key_ids=_key_ids(request),
            reported_at=now,
            alive_until=now if request.leaving else now + self._lease,
        )
        await self._store.transact(partial(report_keys, holder=holder, now=now))
        return pb.ReportKeysResponse(lease_ms=round(self._lease.total_seconds() * 1000))

    async def page(
        self, principal: Principal, request: pb.ListKeyHoldersRequest
    ) -> pb.ListKeyHoldersResponse:
        """Return a page of the processes of the principal's namespace. Raises InvalidRequestError."""
        most, after = page_size(request.page_size, _DEFAULT_HOLDERS), _after(request.page_token)
        found = await self._store.read(
            lambda reader: reader.list_key_holders(principal.namespace, after, most + 1)
        )
        shown, now = found[:most], self._clock.now()
        return pb.ListKeyHoldersResponse(
            holders=[
                pb.KeyHolder(
                    holder_id=holder.holder_id,
                    principal=holder.principal,
                    identity=holder.identity,
                    key_ids=holder.key_ids,
                    alive=now < holder.alive_until,
                    reported_at=timestamp(holder.reported_at),
                )
                for holder in shown
            ],
            next_page_token=page_token(shown[-1].holder_id.hex()) if len(found) > most else "",
        )


def _holder_id(holder_id: bytes) -> bytes:
    if len(holder_id) != HOLDER_ID_BYTES:
        raise InvalidRequestError(f"a holder id is {HOLDER_ID_BYTES} random bytes", reason="HOLDER_ID")
    return holder_id


def _identity(identity: str) -> str:
    if len(identity) > MAX_IDENTITY_CHARS or not identity.isprintable():
        raise InvalidRequestError(
            "the identity is too long or not printable",
            reason="IDENTITY",
            fix="give the process a short name of printable characters",
        )
    return identity


def _key_ids(request: pb.ReportKeysRequest) -> tuple[bytes, ...]:
    if len(request.key_ids) > MAX_KEYS:
        raise InvalidRequestError(
            f"a namespace has at most {MAX_KEYS} keys",
            reason="TOO_MANY_KEYS",
            fix="destroy keys that nothing needs any more: isthmus keys destroy",
        )
    key_ids = tuple(sorted(set(request.key_ids)))
    if any(len(key_id) != KEY_ID_BYTES for key_id in key_ids):
        raise InvalidRequestError(f"a key id is {KEY_ID_BYTES} bytes", reason="KEY_ID")
    return key_ids


def _after(token: str) -> bytes:
    try:
        return bytes.fromhex(page_start(token))
    except ValueError:
        raise InvalidRequestError("the page token is not one of this gateway", reason="PAGE_TOKEN") from None
