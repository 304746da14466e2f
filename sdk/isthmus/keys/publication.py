"""Publishes what a keyring says about its public keys: repeatable, whatever a killed process left behind.

A keyset is recorded in the keyring after the gateway has it. A process that was killed in between left a
keyset that the gateway knows and the keyring does not: it is adopted, because one's own root signed it.

A gateway that has no keyset at all lost its database, or is new. It gets the next one: peers who saw the last
one find its hash in there, and what the gateway forgot is nothing that anybody took its word for.

A gateway that has an older one than the keyring was set back to a backup, or hides the newer one. That is for
a person to decide: one who knows of a restore says ``after_restore``, and it gets the next one, too.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.keys.contents import KeyringContents
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyset import (
    DEFAULT_LIFETIME_MS,
    Keyset,
    Pin,
    SeenKeyset,
    SignedKeyset,
    next_keyset,
    parse_keyset,
    sign_keyset,
    verify_keyset,
)
from isthmus.keys.public_key import PublicKeyRecord
from isthmus.wire.keyset import root_fingerprint


class KeysetDirectory(Protocol):
    """Where keysets are published: the gateway."""

    def newest(self, namespace: str) -> SignedKeyset | None:
        """Return the newest keyset of a namespace, None when there is none yet."""
        ...

    def publish(self, signed: SignedKeyset) -> None:
        """Publish the next keyset; durable once this returns."""
        ...


class KeysetPublication:
    """The keysets of one namespace: what the gateway has, and what should be next."""

    def __init__(
        self,
        *,
        keyring: FileKeyring,
        root: SigningPrivateKey,
        directory: KeysetDirectory,
        now_ms: Callable[[], int],
        lifetime_ms: int = DEFAULT_LIFETIME_MS,
        after_restore: bool = False,
    ) -> None:
        self._keyring = keyring
        self._root = root
        self._directory = directory
        self._now_ms = now_ms
        self._lifetime_ms = lifetime_ms
        self._after_restore = after_restore

    def newest(self) -> Keyset | None:
        """Return the newest keyset at the gateway, and make the keyring know it; None when it has none.

        An older one than the keyring's counts as none after a restore.

        Raises:
            KeysetRejectedError: the gateway has another one than this keyring signed, or an older one.
        """
        contents = self._keyring.contents
        seen = (
            SeenKeyset(version=contents.keyset_version, hash=contents.keyset_hash)
            if contents.keyset_version
            else None
        )
        signed = self._directory.newest(contents.namespace)
        if signed is None:
            return None
        keyset = parse_keyset(signed.keyset, contents.namespace)
        pin = Pin(
            namespace=contents.namespace,
            trust_domain=contents.trust_domain,
            root_fingerprint=root_fingerprint(contents.root_public_key),
        )
        # As of when it was signed: one's own keyset may have expired, and a new one is what mends that.
        went_back = self._after_restore and keyset.version < contents.keyset_version
        verify_keyset(signed, pin=pin, seen=None if went_back else seen, now_ms=keyset.issued_at_ms)
        if went_back:
            return None
        if keyset.version != contents.keyset_version:
            self._keyring.record_keyset(keyset.version, signed.hash)
        return keyset

    def publish(self, contents: KeyringContents | None = None) -> tuple[Keyset, bool]:
        """Publish the keys of these contents, the keyring's own unless others are given.

        Returns the keyset that says so, and whether it is a new one: none is made when the newest says the
        same and has half of its life left.
        """
        newest = self.newest()
        now_ms = self._now_ms()
        known = self._keyring.contents
        planned = replace(
            contents or known, keyset_version=known.keyset_version, keyset_hash=known.keyset_hash
        )
        keyset = next_keyset(planned, now_ms=now_ms, lifetime_ms=self._lifetime_ms)
        if newest is not None and _said(newest) == _said(keyset) and newest.suites == keyset.suites:
            left_ms = newest.expires_at_ms - now_ms
            if left_ms > self._lifetime_ms // 2:
                return newest, False
        signed = sign_keyset(keyset, self._root)
        self._directory.publish(signed)
        self._keyring.record_keyset(keyset.version, signed.hash)
        return keyset, True


def _said(keyset: Keyset) -> set[PublicKeyRecord]:
    return set(keyset.keys)
