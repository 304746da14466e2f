"""Publishes what a keyring says about its public keys: repeatable, whatever a killed process left behind.

A keyset is recorded in the keyring after the gateway has it. A process that was killed in between left a
keyset that the gateway knows and the keyring does not: it is adopted, because one's own root vouches for it.
So are a root and a delegation that another machine of the team published.

A gateway that has no keyset at all lost its database, or is new. It gets the next one: peers who saw the last
one find its hash in there, and what the gateway forgot is nothing that anybody took its word for.

A gateway that has an older one than the keyring was set back to a backup, or hides the newer one. That is for
a person to decide: one who knows of a restore says ``after_restore``, and it gets the next one, too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from isthmus.keys.contents import KeyringContents
from isthmus.keys.errors import KeysError, KeysetRejectedError
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.keyset import Pin, verify_keyset
from isthmus.keys.statements import KEYSET_LIFETIME_MS, keyset_life_ms, next_keyset, sign_keyset
from isthmus.wire.chain import MAX_VERSION_STEP, Chain, ChainProblem
from isthmus.wire.public_key import PublicKeyRecord, gone_back
from isthmus.wire.trust_statement import Delegation, Keyset, SignedKeyset, SignedStatement


class KeysetDirectory(Protocol):
    """Where keysets are published: the gateway."""

    def newest(self, namespace: str) -> SignedKeyset | None:
        """Return the newest keyset of a namespace, None when there is none yet."""
        ...

    def publish(self, signed: SignedKeyset) -> None:
        """Publish a keyset; durable once this returns."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One's own keyset as the gateway has it, verified."""

    signed: SignedKeyset
    chain: Chain

    @property
    def keyset(self) -> Keyset:
        """What it says."""
        return self.chain.keyset


class KeysetPublication:
    """The keysets of one namespace: what the gateway has, and what should be next."""

    def __init__(
        self,
        *,
        keyring: FileKeyring,
        signer: HybridPrivateKey,
        directory: KeysetDirectory,
        now_ms: Callable[[], int],
        lifetime_ms: int = KEYSET_LIFETIME_MS,
        after_restore: bool = False,
        dry_run: bool = False,
    ) -> None:
        """Prepare publications.

        Args:
            keyring: whose keys are published.
            signer: the key that the root delegated to.
            directory: the gateway.
            now_ms: Unix milliseconds.
            lifetime_ms: how long a keyset lives; shorter where the delegation says so.
            after_restore: an older keyset at the gateway is due to a restore.
            dry_run: change neither the keyring nor the gateway; say what would be published.
        """
        self._dry_run = dry_run
        self._keyring = keyring
        self._signer = signer
        self._directory = directory
        self._now_ms = now_ms
        self._lifetime_ms = lifetime_ms
        self._after_restore = after_restore

    def newest(self) -> Published | None:
        """Return the newest keyset at the gateway, and make the keyring know it; None when it has none.

        In a dry run the keyring stays as it is. An older one than the keyring's counts as none after a
        restore.

        Raises:
            KeysetRejectedError: the root of this keyring does not vouch for what the gateway has, or it is
                older.
        """
        signed = self._directory.newest(self._keyring.namespace)
        if signed is None:
            return None
        contents = self._keyring.contents
        published = read_own(signed, contents)
        if published.keyset.version < contents.keyset_version:
            if self._after_restore:
                return None
            raise KeysetRejectedError(ChainProblem.ROLLBACK, contents.namespace)
        if adopted(contents, published) != contents and not self._dry_run:
            self._keyring.update(lambda now: adopted(now, published))
        return published

    def publish(self, contents: KeyringContents | None = None) -> tuple[Keyset, bool]:
        """Publish the keys of these contents, the keyring's own unless others are given.

        Returns the keyset that says so, and whether it is a new one: none is made when the newest says the
        same, under the same root and delegation, and has half of its life left.

        Raises:
            KeysError: what the same signer published says that a key is further in its life: this is an old
                copy of the keyring, or a revocation that was interrupted.
        """
        newest = self.newest()
        now_ms = self._now_ms()
        known = self._keyring.contents
        if newest is not None and self._dry_run:
            known = adopted(known, newest)
        planned = replace(known, keys=(contents or known).keys)
        lifetime_ms = keyset_life_ms(known, self._lifetime_ms)
        keyset = next_keyset(planned, now_ms=now_ms, lifetime_ms=lifetime_ms)
        if newest is not None and known.delegation is not None:
            # Under a delegation that was replaced, somebody else may have published.
            is_ours = newest.signed.delegation.hash == known.delegation.hash
            back = gone_back(keyset.keys, newest.keyset.keys) if is_ours else ()
            if back:
                ids = ", ".join(key_id.hex() for key_id in back)
                raise KeysError(
                    f"the published keyset {newest.keyset.version} of {keyset.namespace} says that keys were"
                    f" replaced or revoked which this keyring has in use ({ids}): it is an old"
                    " copy, so bring the newest one here; or a revocation was interrupted, so repeat that"
                )
        if newest is not None and _says(newest.keyset) == _says(keyset):
            same = _authority(newest.signed.roots, newest.signed.delegation) == _authority(
                known.roots, known.delegation
            )
            if same and newest.chain.expires_at_ms - now_ms > lifetime_ms // 2:
                return newest.keyset, False
        signed = sign_keyset(keyset, known, self._signer)
        if self._dry_run:
            return keyset, True
        self._directory.publish(signed)
        self._keyring.record_keyset(keyset.version, signed.hash)
        return keyset, True


def read_own(signed: SignedKeyset, contents: KeyringContents) -> Published:
    """Verify one's own keyset as the gateway has it: expired ones, too, for a newer one is what mends that.

    Raises:
        KeysetRejectedError: the root of this keyring does not vouch for it, or it contradicts the keyring.
    """
    pin = Pin(
        namespace=contents.namespace,
        trust_domain=contents.trust_domain,
        fingerprint=contents.roots[0].hash if contents.roots else contents.fingerprint,
    )
    _, chain = verify_keyset(signed, pin=pin, seen=None, now_ms=None)
    problem = None
    shared = min(len(signed.roots), len(contents.roots))
    if [root.hash for root in signed.roots[:shared]] != [root.hash for root in contents.roots[:shared]]:
        problem = ChainProblem.ROOT
    if contents.delegation is not None:
        version = Delegation.decode(contents.delegation.statement).version
        if chain.delegation.version == version and signed.delegation.hash != contents.delegation.hash:
            problem = ChainProblem.EQUIVOCATION
        if chain.delegation.version > version and shared < len(contents.roots):
            # A root that was replaced has no say any more, whoever holds its keys.
            problem = ChainProblem.ROLLBACK
    if chain.keyset.version == contents.keyset_version and signed.hash != contents.keyset_hash:
        problem = ChainProblem.EQUIVOCATION
    is_next = contents.keyset_version and chain.keyset.version == contents.keyset_version + 1
    if is_next and chain.keyset.previous_hash != contents.keyset_hash:
        problem = ChainProblem.CHAIN
    if contents.keyset_version and chain.keyset.version - contents.keyset_version > MAX_VERSION_STEP:
        problem = ChainProblem.CHAIN
    if problem is not None:
        raise KeysetRejectedError(problem, contents.namespace)
    return Published(signed=signed, chain=chain)


def adopted(contents: KeyringContents, published: Published) -> KeyringContents:
    """Return the contents with whatever is newer at the gateway."""
    signed, chain = published.signed, published.chain
    if len(signed.roots) > len(contents.roots):
        contents = replace(contents, roots=signed.roots)
    known = contents.delegation
    if known is None or Delegation.decode(known.statement).version < chain.delegation.version:
        contents = replace(contents, delegation=signed.delegation)
    if chain.keyset.version > contents.keyset_version:
        contents = replace(contents, keyset_version=chain.keyset.version, keyset_hash=signed.hash)
    return contents


def _authority(
    roots: tuple[SignedStatement, ...], delegation: SignedStatement | None
) -> tuple[list[bytes], bytes]:
    return [root.hash for root in roots], b"" if delegation is None else delegation.hash


def _says(keyset: Keyset) -> tuple[set[PublicKeyRecord], tuple[str, ...]]:
    return set(keyset.keys), keyset.suites
