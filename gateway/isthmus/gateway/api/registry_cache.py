"""Endpoints and public keys, as the hot path needs them: cached, and dropped as soon as they change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.ports import RegistryChanged, Signal, Store, StoredKeyset
from isthmus.v1 import key_service_pb2

T = TypeVar("T")
MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveKeys:
    """The ids of the keys that a namespace uses now."""

    encryption: frozenset[bytes]
    signing: frozenset[bytes]


class RegistryCache:
    """Reads through to the store. Lives on the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._endpoints: dict[str, Endpoint | None] = {}
        self._keys: dict[str, ActiveKeys | None] = {}
        self._changes = 0

    async def endpoint(self, name: str) -> Endpoint | None:
        """Return an endpoint, a deleted one too."""
        if name in self._endpoints:
            return self._endpoints[name]
        seen = self._changes
        endpoint = await self._store.read(lambda reader: reader.endpoint(name))
        if self._changes == seen:
            _remember(self._endpoints, name, endpoint)
        return endpoint

    async def active_keys(self, namespace: str) -> ActiveKeys | None:
        """Return the keys that a namespace uses, None when it never published a keyset."""
        if namespace in self._keys:
            return self._keys[namespace]
        seen = self._changes
        stored = await self._store.read(lambda reader: reader.keyset(namespace))
        keys = None if stored is None else _active_keys(stored)
        if self._changes == seen:
            _remember(self._keys, namespace, keys)
        return keys

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Forget what changed."""
        for signal in signals:
            if type(signal) is RegistryChanged:
                # Reads that are under way may bring what was there before the change.
                self._changes += 1
                if not signal.namespace:
                    # Notifications of other gateways may have been lost.
                    self._endpoints.clear()
                    self._keys.clear()
                    continue
                self._endpoints.pop(signal.endpoint, None)
                self._keys.pop(signal.namespace, None)


def _active_keys(stored: StoredKeyset) -> ActiveKeys:
    keyset = key_service_pb2.Keyset.FromString(stored.keyset)
    active = [key for key in keyset.keys if key.state == key_service_pb2.KEY_STATE_ACTIVE]
    return ActiveKeys(
        encryption=frozenset(key.key_id for key in active if key.kind == key_service_pb2.KEY_KIND_ENCRYPTION),
        signing=frozenset(key.key_id for key in active if key.kind == key_service_pb2.KEY_KIND_SIGNING),
    )


def _remember(entries: dict[str, T], name: str, value: T) -> None:
    """Names come from outside: whoever invents many of them must not fill the memory."""
    if len(entries) >= MAX_ENTRIES:
        entries.clear()
    entries[name] = value
