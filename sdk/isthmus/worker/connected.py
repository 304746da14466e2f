"""What a worker needs of a client: the way to the gateway, and the keys on its own side."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, Self

from isthmus.blobs.claim_checks import ClaimChecks
from isthmus.envelope.errors import KeyUnavailableError, MissingKey
from isthmus.envelope.expected import Decrypter, VerifiedKeys
from isthmus.envelope.identity import token_key_of
from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.envelope.seal import RecipientKey
from isthmus.keys.endpoint_records import KnownRecord
from isthmus.keys.errors import KeysError, NoSealingKeyError, TrustError
from isthmus.keys.keyring import Keyring
from isthmus.keys.keyset import VerifiedKeyset
from isthmus.payload.converter import PayloadConverter
from isthmus.transport.connection import Connection, SyncConnection
from isthmus.transport.errors import GatewayError
from isthmus.wire.names import KEY_ID_BYTES, NamespaceName
from isthmus.worker.errors import UntrustedNamespaceError
from isthmus.worker.request_rules import Consents, OwnRecords, RecordsKnown, RequestRules

# No key has it, so the directory asks the gateway again, as often as it may.
_ANY_NEWER_KEY = bytes(KEY_ID_BYTES)

logger = logging.getLogger("isthmus.worker")


class PeerKeysets(Protocol):
    """Keysets of other namespaces, verified against pins."""

    def at_hand(self, namespace: str) -> VerifiedKeyset | None:
        """Return what ``keyset`` would return, where that needs no waiting; None where it would ask."""
        ...

    async def keyset(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeyset:
        """Return the keyset of a pinned namespace; ``key_id`` is a signing key that should be in it.

        Raises:
            TrustError: it is not pinned.
            KeyUnavailableError: its keyset cannot be fetched.
            KeysError: its keyset is refused.
        """
        ...


class WorkerClient(Protocol):
    """What a worker takes from ``isthmus.client.Client``."""

    @property
    def namespace(self) -> NamespaceName:
        """The namespace that serves."""
        ...

    @property
    def trust_domain(self) -> str:
        """The deployment that it belongs to."""
        ...

    @property
    def principal(self) -> str:
        """Who this process is to the gateway; outcomes carry it."""
        ...

    @property
    def connection(self) -> Connection:
        """The way to the gateway."""
        ...

    @property
    def keyring(self) -> Keyring:
        """The keys of the namespace."""
        ...

    async def refresh_keys(self) -> None:
        """Read the keyring again, and go by what the namespace's newest keyset says. Raises nothing."""
        ...

    @property
    def key_directory(self) -> PeerKeysets:
        """The keys of its callers."""
        ...

    @property
    def endpoint_records(self) -> OwnRecords:
        """What owners signed about endpoints."""
        ...

    @property
    def consents(self) -> Consents:
        """Who may read along."""
        ...

    @property
    def payload_converter(self) -> PayloadConverter:
        """How values become payloads."""
        ...

    @property
    def claim_checks(self) -> ClaimChecks:
        """How payloads travel that are too large for envelopes."""
        ...


class SyncPeerKeysets(Protocol):
    """Keysets of other namespaces, verified against pins, for threads."""

    def keyset(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeyset:
        """Return a keyset. Raises as ``PeerKeysets.keyset``."""
        ...


class SyncOwnRecords(Protocol):
    """What one's own namespace signed about its endpoints, for threads."""

    @property
    def cache(self) -> RecordsKnown:
        """Those at hand."""
        ...

    def record(self, namespace: str, endpoint: str, *, newest: bool = False) -> KnownRecord:
        """Return what is known of an endpoint. Raises as ``OwnRecords.record``."""
        ...


class SyncWorkerClient(Protocol):
    """What completing an operation takes from ``isthmus.client.SyncClient``; it blocks."""

    @property
    def namespace(self) -> NamespaceName:
        """The namespace that serves."""
        ...

    @property
    def trust_domain(self) -> str:
        """The deployment that it belongs to."""
        ...

    @property
    def principal(self) -> str:
        """Who this process is to the gateway."""
        ...

    @property
    def connection(self) -> SyncConnection:
        """The way to the gateway."""
        ...

    @property
    def keyring(self) -> Keyring:
        """The keys of the namespace."""
        ...

    def refresh_keys(self) -> None:
        """Read the keyring again, and go by what the namespace's newest keyset says. Raises nothing."""
        ...

    @property
    def key_directory(self) -> SyncPeerKeysets:
        """The keys of its callers."""
        ...

    @property
    def endpoint_records(self) -> SyncOwnRecords:
        """What owners signed about endpoints."""
        ...

    @property
    def consents(self) -> Consents:
        """Who may read along."""
        ...

    @property
    def payload_converter(self) -> PayloadConverter:
        """How values become payloads."""
        ...

    @property
    def claim_checks(self) -> ClaimChecks:
        """How payloads travel that are too large for envelopes."""
        ...


class ClientKeys:
    """The keys of a client, as tasks need them."""

    def __init__(
        self,
        namespace: NamespaceName,
        keyring: Keyring,
        directory: PeerKeysets,
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        self._namespace = namespace
        self._keyring = keyring
        self._directory = directory
        self._refresh = refresh

    @classmethod
    def of(cls, client: WorkerClient) -> Self:
        """Return the keys of a client."""
        return cls(client.namespace, client.keyring, client.key_directory, client.refresh_keys)

    @property
    def decrypter(self) -> Decrypter:
        """Private encryption keys of the worker's namespace."""
        return self._keyring

    def signer(self) -> SigningPrivateKey:
        """Return the key that signs outcomes now. Raises KeyUnavailableError."""
        try:
            return self._keyring.signing_key()
        except KeysError:
            raise self._missing(self._namespace, MissingKey.SENDER_SIGNING) from None

    def token_key(self, token: bytes) -> bytes:
        """Return the keyed hash that an operation is found by: nobody without the keyring can make it."""
        keyring = self._keyring
        return token_key_of(
            keyring.id_key, trust_domain=keyring.trust_domain, namespace=self._namespace, token=token
        )

    def verification_keys_at_hand(self, namespace: str) -> VerifiedKeys | None:
        """Return the keys that a namespace may have signed with, or None when they must be asked for."""
        return None if namespace == self._namespace else self._directory.at_hand(namespace)

    def recipient_key_at_hand(self, namespace: str) -> RecipientKey | None:
        """Return the key to seal to, or None when it must be asked for."""
        keyset = None if namespace == self._namespace else self._directory.at_hand(namespace)
        try:
            return None if keyset is None else keyset.sealing_key()
        except NoSealingKeyError:
            return None

    async def verification_keys(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeys:
        """Return the keys that a namespace may have signed with; ``key_id`` is one that should be among them.

        Raises:
            UntrustedNamespaceError: it is not pinned.
            KeyUnavailableError: its keyset cannot be fetched or verified now.
        """
        if namespace != self._namespace:
            return await self._keyset(namespace, key_id=key_id)
        if key_id is not None and self._keyring.own_keys().find_signing_key(key_id) is None:
            self._keyring.refresh()
        return self._keyring.own_keys()

    async def recipient_key(self, namespace: str, *, newest: bool = False) -> RecipientKey:
        """Return the key to seal to. Raises as verification_keys does.

        With ``newest``, keyring and keyset are read again first.
        """
        if newest:
            await self._refresh()
        try:
            if namespace == self._namespace:
                return RecipientKey(namespace=namespace, key=self._keyring.sealing_key())
            return (await self._keyset(namespace, key_id=_ANY_NEWER_KEY if newest else None)).sealing_key()
        except KeysError:
            raise self._missing(namespace, MissingKey.RECIPIENT_ENCRYPTION) from None

    async def _keyset(self, namespace: str, *, key_id: bytes | None = None) -> VerifiedKeyset:
        try:
            return await self._directory.keyset(namespace, key_id=key_id)
        except TrustError:
            raise UntrustedNamespaceError(namespace) from None
        except (KeysError, GatewayError) as error:
            logger.error("no keys of namespace %s: %s", namespace, error)  # noqa: TRY400 - no traceback needed
            raise self._missing(namespace, MissingKey.KEYSET) from None

    def _missing(self, namespace: str, which: MissingKey) -> KeyUnavailableError:
        return KeyUnavailableError(key_id=b"", namespace=namespace, which=which)


def rules_of(client: WorkerClient) -> RequestRules:
    """Return what holds requests to what a client's namespace signed."""
    return RequestRules(client.namespace, client.endpoint_records, client.consents)
