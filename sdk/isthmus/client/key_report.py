"""What a process tells its team, by way of the gateway, about the keys that it has at hand.

``isthmus keys rotate`` waits for those who live until they have the new keys. A report is made once a process
is connected and whenever its keyring changed, and repeated while it lives; never for an operation. Nobody
proves anything here: a gateway that lies makes a rotation early or late, and nothing that is sealed too early
to a key is lost.
"""

import logging
import os
import socket
from typing import Final

from isthmus.keys.keyring import Keyring
from isthmus.transport.errors import IsthmusError, UnsupportedError
from isthmus.transport.fork import ProcessMark
from isthmus.v1 import key_service_pb2
from isthmus.wire.names import HOLDER_ID_BYTES

REPORTS_PER_LEASE: Final = 3
RETRY_SECONDS: Final = 30.0
"""After a report that did not arrive."""

logger = logging.getLogger("isthmus.keys")


class KeyReport:
    """When this process has to report, and what. Times are seconds of one monotonic clock."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._begin()

    def _begin(self) -> None:
        self._mark = ProcessMark()
        self._holder_id = os.urandom(HOLDER_ID_BYTES)
        self._reported: tuple[bytes, ...] | None = None
        self._next: float | None = 0.0

    def due(self, now: float) -> key_service_pb2.ReportKeysRequest | None:
        """Return what to report now; None: nothing changed, and it is not time yet."""
        if self._mark.forked:
            # Another process: what the parent reported, it reported of itself.
            self._begin()
        if self._next is None:
            return None
        held = self._held()
        if now < self._next and held == self._reported:
            return None
        # Whatever comes of it: not again at once.
        self._next = now + RETRY_SECONDS
        self._reported = held
        return self._request(held)

    def accepted(self, response: key_service_pb2.ReportKeysResponse, now: float) -> None:
        """The report arrived: repeat it before the gateway forgets that this process lives."""
        self._next = now + response.lease_ms / 1000 / REPORTS_PER_LEASE

    def failed(self, error: IsthmusError) -> None:
        """The report did not arrive; a gateway that knows no reports is not asked again."""
        if isinstance(error, UnsupportedError):
            self._next = None
        logger.debug("cannot report the keys of %s: %s", self._keyring.namespace, error)

    def leaving(self) -> key_service_pb2.ReportKeysRequest | None:
        """Return what to report when the process ends; None when nobody knows of it."""
        if self._reported is None or self._next is None or self._mark.forked:
            return None
        return self._request(self._reported, leaving=True)

    def _held(self) -> tuple[bytes, ...]:
        keys = self._keyring.contents.keys
        return tuple(sorted(bytes(key.record.key_id) for key in keys if key.secret is not None))

    def _request(
        self, key_ids: tuple[bytes, ...], *, leaving: bool = False
    ) -> key_service_pb2.ReportKeysRequest:
        identity = f"{socket.gethostname()}:{os.getpid()}"
        return key_service_pb2.ReportKeysRequest(
            holder_id=self._holder_id, identity=identity, key_ids=key_ids, leaving=leaving
        )
