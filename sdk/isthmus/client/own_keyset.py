"""Looks after one's own keys: at the gateway, and in the keyring.

Every process that holds the namespace's keyring looks at its keyset every few minutes: keeps it alive, uses
the keys that it says are in use, and raises the alarm when it is not one's own. What the gateway has must be
what one's own root vouches for, and list no key for use that the keyring does not have. Every few seconds it
looks whether the keyring was replaced, and tells its team which keys it has. Nothing that goes wrong here
fails a call: it is logged, and tried again.
"""

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import Any, Final

from isthmus.client.key_alarm import KeyAlarm, KeyAlarmKind, OnKeyAlarm, raise_alarm
from isthmus.client.key_report import KeyReport
from isthmus.keys.errors import KeysError
from isthmus.keys.keyring import Keyring
from isthmus.keys.renewal import OwnKeyset, look_at_own
from isthmus.keys.timings import KeyTimings
from isthmus.transport.async_stubs import key_stub_of
from isthmus.transport.connection import Connection, SyncConnection
from isthmus.transport.errors import ConflictError, IsthmusError, NotFoundError
from isthmus.v1 import key_service_pb2, key_service_pb2_grpc
from isthmus.wire.chain import DAY_MS
from isthmus.wire.trust_statement import SignedKeyset, signed_keyset_message, signed_keyset_of

WARN_DELEGATION_MS: Final = 14 * DAY_MS
_CALL_SECONDS: Final = 5.0
_GOODBYE_SECONDS: Final = 1.0

logger = logging.getLogger("isthmus.keys")


class OwnKeysetWatch:
    """What a process thinks of its namespace's keyset. Says each thing once, not every few minutes."""

    def __init__(self, keyring: Keyring, on_key_alarm: OnKeyAlarm | None = None) -> None:
        self._keyring = keyring
        self._on_key_alarm = on_key_alarm
        self._said = ""

    def consider(self, signed: SignedKeyset, *, now_ms: int) -> SignedKeyset | None:
        """Compare a keyset that the gateway has with the keyring; return it renewed when that is due."""
        try:
            own = look_at_own(signed, self._keyring.contents, now_ms=now_ms)
            if (own.unknown or own.came_back) and self._keyring.refresh():
                own = look_at_own(signed, self._keyring.contents, now_ms=now_ms)
        except KeysError as error:
            message = f"{error}; ALARM: the gateway shows it as that of this namespace"
            self._alarm(
                KeyAlarm(
                    kind=KeyAlarmKind.NOT_VOUCHED_FOR, namespace=self._keyring.namespace, message=message
                )
            )
            return None
        namespace = self._keyring.namespace
        keys = ", ".join(key_id.hex() for key_id in own.came_back or own.unknown)
        if own.came_back:
            self._alarm_about(
                own,
                KeyAlarmKind.KEYS_CAME_BACK,
                own.came_back,
                f"lists keys as in use that this keyring put out of use ({keys}): somebody else published,"
                " perhaps from an old copy of it",
            )
            return None
        if own.is_in_use:
            self._alarm_about(
                own,
                KeyAlarmKind.UNKNOWN_KEYS,
                own.unknown,
                f"lists keys that this keyring does not have ({keys}): it is an old copy, or somebody else"
                " published",
            )
        elif own.unknown:
            self._say(
                logging.WARNING,
                f"keyset {own.version} of {namespace} announces keys that this keyring does not have yet"
                f" ({keys}): bring the newest keyring here; a rotation waits for it. If nobody rotates,"
                " somebody else published",
            )
        elif own.delegation_expires_at_ms - now_ms < WARN_DELEGATION_MS:
            days = max(0, own.delegation_expires_at_ms - now_ms) // DAY_MS
            self._say(
                logging.WARNING,
                f"the root of {namespace} has to delegate anew within {days} days, or its keysets are"
                " refused; see: isthmus keys delegate --help",
            )
        self._keyring.follow(own.keyset)
        return own.renewed

    def refresh(self) -> None:
        """Read the keyring again if it was replaced; what cannot be read leaves the keys as they are."""
        try:
            self._keyring.refresh()
        except (KeysError, OSError) as error:
            self._say(
                logging.ERROR, f"the keyring of {self._keyring.namespace} cannot be read again: {error}"
            )

    def _alarm_about(self, own: OwnKeyset, kind: KeyAlarmKind, key_ids: tuple[bytes, ...], what: str) -> None:
        namespace = self._keyring.namespace
        message = f"ALARM: keyset {own.version} of {namespace} {what}; see: isthmus keys status"
        self._alarm(
            KeyAlarm(
                kind=kind,
                namespace=namespace,
                message=message,
                keyset_version=own.version,
                key_ids=key_ids,
            )
        )

    def _alarm(self, alarm: KeyAlarm) -> None:
        if alarm.message != self._said:
            self._said = alarm.message
            raise_alarm(alarm, self._on_key_alarm)

    def _say(self, level: int, text: str) -> None:
        if text != self._said:
            self._said = text
            logger.log(level, "%s", text)


class OwnKeysWatch:
    """Looks after the keys of one async client, until it is closed."""

    def __init__(
        self,
        connection: Connection,
        keyring: Keyring,
        timings: KeyTimings,
        on_key_alarm: OnKeyAlarm | None = None,
    ) -> None:
        self._connection = connection
        self._keyring = keyring
        self._timings = timings
        self._own = OwnKeysetWatch(keyring, on_key_alarm)
        self._report = KeyReport(keyring)
        self._stub = key_stub_of(connection)
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()
        self._jobs = [asyncio.create_task(self._look_after()), asyncio.create_task(self._tell())]

    async def refresh(self) -> None:
        """Read keyring and keyset again, after a key was refused; the keyset not every time."""
        self._own.refresh()
        asked_at = time.monotonic()
        async with self._looking:
            looked_at = self._looked_at
            # Somebody else may have looked while this one waited: what it found is new enough.
            if looked_at is None or looked_at + self._timings.own_interval_seconds <= asked_at:
                await self._look()

    async def close(self) -> None:
        """End, and tell the team so."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        leaving = self._report.leaving()
        if leaving is not None:
            with suppress(IsthmusError):
                await self._connection.call(self._stub.ReportKeys, leaving, timeout_seconds=_GOODBYE_SECONDS)

    async def _look_after(self) -> None:
        while True:
            async with self._looking:
                await self._look()
            # Not all processes of a team at the same time.
            await asyncio.sleep(self._timings.look_seconds * random.uniform(0.8, 1.2))  # noqa: S311

    async def _look(self) -> None:
        self._looked_at = time.monotonic()
        get = key_service_pb2.GetKeysetRequest(namespace=self._keyring.namespace)
        try:
            answer = await self._connection.call(self._stub.GetKeyset, get, timeout_seconds=_CALL_SECONDS)
            renewed = self._own.consider(signed_keyset_of(answer.keyset), now_ms=_now_ms())
            if renewed is not None:
                await self._connection.call(
                    self._stub.PublishKeyset, _publish(renewed), timeout_seconds=_CALL_SECONDS
                )
        except IsthmusError as error:
            _log_failure(error, self._keyring)

    async def _tell(self) -> None:
        while True:
            # To read it again takes the time of many operations; to see that nothing changed takes none.
            await asyncio.to_thread(self._own.refresh)
            request = self._report.due(time.monotonic())
            if request is not None:
                try:
                    told = await self._connection.call(
                        self._stub.ReportKeys, request, timeout_seconds=_CALL_SECONDS
                    )
                except IsthmusError as error:
                    self._report.failed(error)
                else:
                    self._report.accepted(told, time.monotonic())
            await asyncio.sleep(self._timings.keyring_seconds)


class BlockingLook:
    """The same for threads: looks on the way of a call, when it is time again."""

    def __init__(
        self,
        connection: SyncConnection,
        keyring: Keyring,
        timings: KeyTimings,
        on_key_alarm: OnKeyAlarm | None = None,
    ) -> None:
        self._connection = connection
        self._keyring = keyring
        self._timings = timings
        self._own = OwnKeysetWatch(keyring, on_key_alarm)
        self._report = KeyReport(keyring)
        self._next_look = 0.0
        self._next_report = 0.0
        self._looked_at: float | None = None

    def if_it_is_time(self) -> None:
        """Look, unless somebody did a moment ago; another thread does not wait for it."""
        now = time.monotonic()
        if now >= self._next_look:
            self._look(now)
        if now >= self._next_report:
            self._next_report = now + self._timings.keyring_seconds
            self._own.refresh()
            self._tell(now)

    def refresh(self) -> None:
        """Read keyring and keyset again, after a key was refused; the keyset not every time."""
        self._own.refresh()
        now = time.monotonic()
        if self._looked_at is None or self._looked_at + self._timings.own_interval_seconds <= now:
            self._look(now)

    def close(self) -> None:
        """Tell the team that this process ends."""
        leaving = self._report.leaving()
        if leaving is not None:
            with suppress(IsthmusError):
                self._call("ReportKeys", leaving, timeout_seconds=_GOODBYE_SECONDS)

    def _look(self, now: float) -> None:
        self._looked_at, self._next_look = now, now + self._timings.look_seconds
        try:
            answer = self._call(
                "GetKeyset", key_service_pb2.GetKeysetRequest(namespace=self._keyring.namespace)
            )
            renewed = self._own.consider(signed_keyset_of(answer.keyset), now_ms=_now_ms())
            if renewed is not None:
                self._call("PublishKeyset", _publish(renewed))
        except IsthmusError as error:
            _log_failure(error, self._keyring)

    def _tell(self, now: float) -> None:
        request = self._report.due(now)
        if request is None:
            return
        try:
            told = self._call("ReportKeys", request)
        except IsthmusError as error:
            self._report.failed(error)
        else:
            self._report.accepted(told, now)

    def _call(self, method: str, request: object, timeout_seconds: float = _CALL_SECONDS) -> Any:  # noqa: ANN401
        return self._connection.call(
            lambda channel: getattr(key_service_pb2_grpc.KeyServiceStub(channel), method),
            request,
            timeout_seconds=timeout_seconds,
        )


def _publish(renewed: SignedKeyset) -> key_service_pb2.PublishKeysetRequest:
    return key_service_pb2.PublishKeysetRequest(keyset=signed_keyset_message(renewed))


def _log_failure(error: IsthmusError, keyring: Keyring) -> None:
    if isinstance(error, ConflictError):
        return  # another process of the team was faster
    level = logging.INFO if isinstance(error, NotFoundError) else logging.WARNING
    logger.log(
        level, "cannot look after the keyset of %s, and tries again by itself: %s", keyring.namespace, error
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
