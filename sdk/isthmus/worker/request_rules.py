"""Holds requests to what the worker's namespace signed about its endpoints: recipients, contract, queue.

What the gateway says about an endpoint decides nothing here. Where nothing was signed, a request is for
caller and handler alone, and may come from any task queue.
"""

import logging
from typing import Final, Protocol

from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError, MissingKey, RejectionReason
from isthmus.keys.endpoint_records import KnownRecord
from isthmus.keys.errors import KeysError, RecipientError
from isthmus.transport.errors import IsthmusError
from isthmus.wire.endpoint_record import Difference, difference
from isthmus.wire.header import Header, readers_of

logger = logging.getLogger("isthmus.worker")

_REASONS: Final = {
    Difference.RECIPIENTS: RejectionReason.RECIPIENTS,
    Difference.CONTRACT: RejectionReason.CONTRACT,
    Difference.TASK_QUEUE: RejectionReason.TASK_QUEUE,
}


class RecordsKnown(Protocol):
    """Records at hand."""

    def at_hand(self, namespace: str, endpoint: str) -> KnownRecord | None:
        """Return what is known of an endpoint; None when the gateway has to be asked."""
        ...

    def may_ask(self, namespace: str, endpoint: str) -> bool:
        """Whether there may be a newer one than that at hand."""
        ...


class OwnRecords(Protocol):
    """What one's own namespace signed about its endpoints, verified."""

    @property
    def cache(self) -> RecordsKnown:
        """Those at hand."""
        ...

    async def record(self, namespace: str, endpoint: str, *, newest: bool = False) -> KnownRecord:
        """Return what is known of an endpoint; ``newest`` asks the gateway whatever is at hand.

        Raises:
            KeysError: what the gateway shows is refused.
            KeyUnavailableError: the gateway cannot be reached, and nothing is at hand.
            IsthmusError: the gateway refuses to answer.
        """
        ...


class Consents(Protocol):
    """Whom everything may be sealed to besides the two of a call: the trust store."""

    def require_recipient(self, namespace: str, endpoint: str) -> None:
        """Require that a person consented. Raises RecipientError."""
        ...


class RequestRules:
    """Holds requests to records."""

    def __init__(self, namespace: str, records: OwnRecords, consents: Consents) -> None:
        self._namespace = namespace
        self._records = records
        self._consents = consents

    async def check(self, header: Header, *, task_queue: str | None) -> None:
        """Require that a request follows what its handler signed, this namespace.

        ``task_queue`` is the one that it was handed out on, None when it was not.

        Raises:
            EnvelopeRejectedError: it does not.
            KeyUnavailableError: what was signed cannot be learned now, or nobody here consented to who reads
                along.
        """
        endpoint = header.endpoint
        known = self._records.cache.at_hand(self._namespace, endpoint)
        if known is None:
            known = await self._fetch(endpoint)
        if known.verified is None and header.recipients == (self._namespace,):
            return
        if _difference(known, header, task_queue) is not None:
            await self._check_with_newest(header, task_queue)
        self.require_consent(readers_of(header), endpoint)

    async def _check_with_newest(self, header: Header, task_queue: str | None) -> None:
        """Hold a request to what is signed now: something newer than what is at hand, perhaps."""
        if not self._records.cache.may_ask(self._namespace, header.endpoint):
            raise _unknown(self._namespace)
        found = _difference(await self._fetch(header.endpoint, newest=True), header, task_queue)
        if found is not None:
            raise EnvelopeRejectedError(_REASONS[found])

    def require_consent(self, readers: tuple[str, ...], endpoint: str) -> None:
        """Require that somebody here consented to who reads along. Raises KeyUnavailableError."""
        for reader in readers:
            try:
                self._consents.require_recipient(reader, endpoint)
            except RecipientError as error:
                logger.error("%s", error)  # noqa: TRY400 - no traceback needed
                raise KeyUnavailableError(key_id=b"", namespace=reader, which=MissingKey.CONSENT) from None

    async def _fetch(self, endpoint: str, *, newest: bool = False) -> KnownRecord:
        try:
            return await self._records.record(self._namespace, endpoint, newest=newest)
        except (KeysError, IsthmusError) as error:
            logger.error("what was signed about %s is not known: %s", endpoint, error)  # noqa: TRY400
            raise _unknown(self._namespace) from None


def _unknown(namespace: str) -> KeyUnavailableError:
    return KeyUnavailableError(key_id=b"", namespace=namespace, which=MissingKey.ENDPOINT_RECORD)


def _difference(known: KnownRecord, header: Header, task_queue: str | None) -> Difference | None:
    """Return what of a request does not follow what was signed when it was issued."""
    if known.verified is None:
        return difference(None, header)
    found: Difference | None = None
    for record in known.verified.in_force(header.issued_at_ms):
        found = difference(record, header, task_queue=task_queue)
        if found is None:
            return None
    return found
