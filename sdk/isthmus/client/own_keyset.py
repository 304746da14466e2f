"""Looks after one's own keyset at the gateway: keeps it alive, and raises the alarm when it is not one's own.

Every process that holds the namespace's keyring looks every few minutes. Nothing that goes wrong here fails a
call: it is logged, and tried again. What the gateway has must be what one's own root vouches for, and list no
key for use that the keyring does not have.
"""

import asyncio
import logging
import random
import time
from typing import Any, Final

from isthmus.keys.errors import KeysError
from isthmus.keys.keyring import Keyring
from isthmus.keys.renewal import look_at_own
from isthmus.transport.async_stubs import key_stub_of
from isthmus.transport.connection import Connection, SyncConnection
from isthmus.transport.errors import ConflictError, IsthmusError, NotFoundError
from isthmus.v1 import key_service_pb2, key_service_pb2_grpc
from isthmus.wire.chain import DAY_MS
from isthmus.wire.trust_statement import SignedKeyset, signed_keyset_message, signed_keyset_of

LOOK_SECONDS: Final = 300.0
WARN_DELEGATION_MS: Final = 14 * DAY_MS
_CALL_SECONDS: Final = 5.0

logger = logging.getLogger("isthmus.keys")


class OwnKeysetWatch:
    """What a process thinks of its namespace's keyset. Says each thing once, not every few minutes."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._said = ""

    def consider(self, signed: SignedKeyset, *, now_ms: int) -> SignedKeyset | None:
        """Compare a keyset that the gateway has with the keyring; return it renewed when that is due."""
        try:
            own = look_at_own(signed, self._keyring.contents, now_ms=now_ms)
            if own.unknown and self._keyring.refresh():
                own = look_at_own(signed, self._keyring.contents, now_ms=now_ms)
        except KeysError as error:
            self._say(logging.ERROR, f"{error}; ALARM: the gateway shows it as that of this namespace")
            return None
        namespace = self._keyring.namespace
        if own.unknown:
            keys = ", ".join(key_id.hex() for key_id in own.unknown)
            self._say(
                logging.ERROR,
                f"ALARM: keyset {own.version} of {namespace} lists keys that this keyring does not have"
                f" ({keys}): it is an old copy, or somebody else published; see: isthmus keys status",
            )
        elif own.delegation_expires_at_ms - now_ms < WARN_DELEGATION_MS:
            days = max(0, own.delegation_expires_at_ms - now_ms) // DAY_MS
            self._say(
                logging.WARNING,
                f"the root of {namespace} has to delegate anew within {days} days, or its keysets are"
                " refused; see: isthmus keys delegate --help",
            )
        return own.renewed

    def _say(self, level: int, text: str) -> None:
        if text != self._said:
            self._said = text
            logger.log(level, "%s", text)


async def look_after(connection: Connection, keyring: Keyring) -> None:
    """Look at one's own keyset every few minutes, until cancelled."""
    own = OwnKeysetWatch(keyring)
    stub = key_stub_of(connection)
    get = key_service_pb2.GetKeysetRequest(namespace=keyring.namespace)
    while True:
        try:
            answer = await connection.call(stub.GetKeyset, get, timeout_seconds=_CALL_SECONDS)
            renewed = own.consider(signed_keyset_of(answer.keyset), now_ms=_now_ms())
            if renewed is not None:
                await connection.call(stub.PublishKeyset, _publish(renewed), timeout_seconds=_CALL_SECONDS)
        except IsthmusError as error:
            _log_failure(error, keyring)
        # Not all processes of a team at the same time.
        await asyncio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311


class BlockingLook:
    """The same for threads: looks on the way of a call, when it is time again."""

    def __init__(self, connection: SyncConnection, keyring: Keyring) -> None:
        self._connection = connection
        self._keyring = keyring
        self._own = OwnKeysetWatch(keyring)
        self._next = 0.0

    def if_it_is_time(self) -> None:
        """Look, unless somebody did a moment ago; another thread does not wait for it."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_SECONDS
        try:
            answer = self._call(
                "GetKeyset", key_service_pb2.GetKeysetRequest(namespace=self._keyring.namespace)
            )
            renewed = self._own.consider(signed_keyset_of(answer.keyset), now_ms=_now_ms())
            if renewed is not None:
                self._call("PublishKeyset", _publish(renewed))
        except IsthmusError as error:
            _log_failure(error, self._keyring)

    def _call(self, method: str, request: object) -> Any:  # noqa: ANN401
        return self._connection.call(
            lambda channel: getattr(key_service_pb2_grpc.KeyServiceStub(channel), method),
            request,
            timeout_seconds=_CALL_SECONDS,
        )


def _publish(renewed: SignedKeyset) -> key_service_pb2.PublishKeysetRequest:
    return key_service_pb2.PublishKeysetRequest(keyset=signed_keyset_message(renewed))


def _log_failure(error: IsthmusError, keyring: Keyring) -> None:
    if isinstance(error, ConflictError):
        return  # another process of the team was faster
    level = logging.INFO if isinstance(error, NotFoundError) else logging.WARNING
    logger.log(level, "cannot look after the keyset of %s: %s", keyring.namespace, error)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
