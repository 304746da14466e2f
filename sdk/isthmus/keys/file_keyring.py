"""The default keyring: one private file, unwrapped once, re-read when somebody rewrote it."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from isthmus.envelope.errors import KeyUnavailableError, MissingKey
from isthmus.envelope.identity import ID_KEY_BYTES
from isthmus.envelope.key_material import EncryptionPrivateKey, EncryptionPublicKey, SigningPrivateKey
from isthmus.keys.contents import KeyringContents, new_key
from isthmus.keys.custody.provider import (
    DataKey,
    KeyContext,
    KeyEncryptionProvider,
    WrappedKey,
    new_keyring_id,
)
from isthmus.keys.errors import KeyringError
from isthmus.keys.keyring import OwnKeys
from isthmus.keys.keyring_access import KeyringAccess, take_into_custody, unlock
from isthmus.keys.keyring_format import (
    KdfParameters,
    Protection,
    WrappingKey,
    decode_keyring,
    decode_root,
    encode_keyring,
    encode_root,
    new_salt,
    read_protection,
)
from isthmus.keys.private_file import FileVersion, exclusive, read_private, replace_private, version_of
from isthmus.keys.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.names import check_namespace, check_trust_domain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """One reading of the file, with its keys loaded."""

    version: FileVersion
    contents: KeyringContents
    wrapping: WrappingKey
    root: bytes | None = field(repr=False)
    signing: SigningPrivateKey | None
    decryption: dict[bytes, EncryptionPrivateKey]
    sealing: EncryptionPublicKey | None
    own: OwnKeys


class FileKeyring:
    """The keys of a namespace in a file of mode 0600. A ``Keyring``; safe to share between threads.

    The passphrase is stretched once, or whoever has the file in custody unwraps its key once, and the result
    stays in memory; so a file that another process rewrote (a rotation, for example) is re-read without them.
    """

    __slots__ = ("_loaded", "_lock", "_path", "_root_passphrase", "_root_path")

    def __init__(
        self,
        path: Path,
        passphrase: bytes | KeyEncryptionProvider | KeyringAccess,
        *,
        root_path: Path | None = None,
    ) -> None:
        """Open a keyring with its passphrase, with its provider, or with whichever of both the file asks for.

        Raises:
            KeyringError: wrong passphrase, unsafe permissions, damaged or foreign file.
            CustodyError: the provider refuses, or cannot be asked (CustodyUnavailableError).
            FileNotFoundError: there is no such file.

        """
        data, version = read_private(path)
        self._path = path
        self._root_path = root_path
        access = KeyringAccess.by(passphrase)
        # Kept only by who signs with the root: its file can have a passphrase of its own.
        self._root_passphrase = None if root_path is None else access.root_passphrase or access.passphrase
        self._lock = threading.RLock()
        self._loaded = _load(data, version, unlock(data, access))

    @classmethod
    def create(
        cls,
        path: Path,
        passphrase: bytes | KeyEncryptionProvider,
        *,
        namespace: str,
        trust_domain: str,
        now_ms: int,
        root_path: Path | None = None,
        root_passphrase: bytes | None = None,
        parameters: KdfParameters | None = None,
    ) -> "FileKeyring":
        """Make the keyring of a namespace: id_key, root, one active key of each kind.

        The root's private key goes into the same file, or into ``root_path``, which can then be taken
        offline; a passphrase protects that file, ``root_passphrase`` if the keyring itself has none.

        Raises:
            KeyringError: there is a keyring or a root already, or the root's file has no passphrase.
            CustodyError: the provider refuses, or cannot be asked (CustodyUnavailableError).
            WireFormatError: the namespace or the trust domain is not valid.

        """
        check_namespace(namespace)
        check_trust_domain(trust_domain)
        root = SigningPrivateKey.generate()
        contents = KeyringContents(
            namespace=namespace,
            trust_domain=trust_domain,
            id_key=os.urandom(ID_KEY_BYTES),
            root_public_key=root.public.raw,
            keys=tuple(new_key(kind, state=KeyState.ACTIVE, now_ms=now_ms) for kind in KeyKind),
        )
        parameters = parameters or KdfParameters(salt=new_salt())
        if isinstance(passphrase, bytes):
            wrapping = WrappingKey.derive(passphrase, parameters)
        else:
            wrapping = take_into_custody(
                passphrase,
                KeyContext(trust_domain=trust_domain, namespace=namespace, keyring_id=new_keyring_id()),
            )
        root_wrapping = wrapping
        if root_path is not None and root_passphrase is not None:
            root_wrapping = WrappingKey.derive(root_passphrase, replace(parameters, salt=new_salt()))
        with exclusive(path):
            if path.exists() or (root_path is not None and root_path.exists()):
                raise KeyringError(f"there is a keyring already: {path}")
            if root_path is not None:
                replace_private(root_path, encode_root(contents, root.to_bytes(), root_wrapping))
            in_file = root.to_bytes() if root_path is None else None
            replace_private(path, encode_keyring(contents, in_file, wrapping))
        access = KeyringAccess.by(passphrase)
        if root_passphrase is not None:
            access = replace(access, root_passphrase=lambda: root_passphrase)
        return cls(path, access, root_path=root_path)

    @property
    def namespace(self) -> str:
        """Whose keys these are."""
        return self._loaded.contents.namespace

    @property
    def trust_domain(self) -> str:
        """The deployment that the namespace belongs to."""
        return self._loaded.contents.trust_domain

    @property
    def id_key(self) -> bytes:
        """The secret that keys operation ids and fingerprints, 32 bytes."""
        return self._loaded.contents.id_key

    @property
    def contents(self) -> KeyringContents:
        """Everything that the keyring knows, as it was read last. Contains secrets."""
        return self._loaded.contents

    @property
    def protection(self) -> Protection:
        """Where the key of the file comes from, as it was read last."""
        return self._loaded.wrapping.protection

    def signing_key(self) -> SigningPrivateKey:
        """Return the active signing key. Raises KeyringError when there is none."""
        key = self._loaded.signing
        if key is None:
            raise KeyringError(f"the keyring of {self.namespace} has no active signing key")
        return key

    def sealing_key(self) -> EncryptionPublicKey:
        """Return one's own active encryption key. Raises KeyringError when there is none."""
        key = self._loaded.sealing
        if key is None:
            raise KeyringError(f"the keyring of {self.namespace} has no active encryption key")
        return key

    def decryption_key(self, key_id: bytes) -> EncryptionPrivateKey | None:
        """Return an encryption key; an unknown id makes the keyring re-read its file at once.

        Raises:
            KeyUnavailableError: permanent, when the key was destroyed.

        """
        key = self._loaded.decryption.get(key_id)
        if key is None and self.refresh():
            key = self._loaded.decryption.get(key_id)
        if key is None and any(record.key_id == key_id for record in self.public_keys()):
            raise KeyUnavailableError(
                key_id=key_id,
                namespace=self.namespace,
                which=MissingKey.RECIPIENT_ENCRYPTION,
                permanent=True,
            )
        return key

    def public_keys(self) -> tuple[PublicKeyRecord, ...]:
        """Return all public keys with their states."""
        return tuple(key.record for key in self._loaded.contents.keys)

    def own_keys(self) -> OwnKeys:
        """Return the signing keys of one's own namespace, to verify what it signed itself."""
        return self._loaded.own

    def refresh(self) -> bool:
        """Re-read the file when it was replaced or written. Returns whether it was.

        Raises:
            KeyringError: the new file cannot be used; the old keys stay loaded.

        """
        with self._lock:
            if version_of(self._path) == self._loaded.version:
                return False
            self._loaded = _load(*read_private(self._path), self._loaded.wrapping)
            return True

    def update(self, change: Callable[[KeyringContents], KeyringContents]) -> KeyringContents:
        """Apply a change to the file as it is now, one writer at a time, and return the new contents.

        Raises:
            KeyringError: the change renames the namespace, or the file cannot be used.

        """
        with self._lock, exclusive(self._path):
            current = _load(*read_private(self._path), self._loaded.wrapping)
            changed = change(current.contents)
            identity = (changed.namespace, changed.trust_domain, changed.id_key, changed.root_public_key)
            before = current.contents
            if identity != (before.namespace, before.trust_domain, before.id_key, before.root_public_key):
                raise KeyringError("a keyring keeps its namespace, its id_key and its root")
            if changed != before:
                replace_private(self._path, encode_keyring(changed, current.root, current.wrapping))
                current = _load(*read_private(self._path), current.wrapping)
            self._loaded = current
            return changed

    def protect(self, by: bytes | KeyEncryptionProvider, *, parameters: KdfParameters | None = None) -> None:
        """Encrypt the file anew, under a passphrase or a data key that was never used before.

        After a crash the file is as it was before, or as it is after. Other processes that have it open go on
        with the keys that they know, and have to open it again to see later changes.

        Raises:
            KeyringError: the file cannot be used.
            CustodyError: the provider refuses, or cannot be asked (CustodyUnavailableError); nothing changed.

        """
        if isinstance(by, bytes):
            wrapping = WrappingKey.derive(by, parameters or KdfParameters(salt=new_salt()))
        else:
            wrapping = take_into_custody(by, self._context())
        self._rewrite(wrapping)

    def rewrap(self, provider: KeyEncryptionProvider) -> None:
        """Have the provider wrap the data key again, under the newest version of its key.

        Nothing else changes: other processes that have the file open read on.

        Raises:
            KeyringError: the keyring is not in the custody of this provider, or the file cannot be used.
            CustodyError: the provider refuses, or cannot be asked (CustodyUnavailableError); nothing changed.

        """
        before = self._loaded.wrapping
        if not isinstance(before.protection, WrappedKey) or before.protection.provider != provider.name:
            raise KeyringError(f"this keyring is not in the custody of {provider.name}")
        self._rewrite(take_into_custody(provider, self._context(), DataKey(before.key)))

    def _context(self) -> KeyContext:
        contents, protection = self._loaded.contents, self.protection
        keyring_id = protection.keyring_id if isinstance(protection, WrappedKey) else new_keyring_id()
        return KeyContext(
            trust_domain=contents.trust_domain, namespace=contents.namespace, keyring_id=keyring_id
        )

    def _rewrite(self, wrapping: WrappingKey) -> None:
        with self._lock, exclusive(self._path):
            current = _load(*read_private(self._path), self._loaded.wrapping)
            data = encode_keyring(current.contents, current.root, wrapping)
            # What cannot be read back must not replace what can.
            decode_keyring(data, wrapping)
            replace_private(self._path, data)
            self._loaded = _load(*read_private(self._path), wrapping)

    def record_keyset(self, version: int, keyset_hash: bytes) -> None:
        """Remember the keyset that was signed last, so that the next one continues it."""
        self.update(lambda contents: replace(contents, keyset_version=version, keyset_hash=keyset_hash))

    def root_key(self, passphrase: bytes | None = None) -> SigningPrivateKey:
        """Return the root's private key, from this file or from the root's own.

        ``passphrase`` is needed only when the root's file has another one.

        Raises:
            KeyringError: the root is not here: it was taken offline, as it should be; or the file that was
                named for it is not there.

        """
        root = self._loaded.root
        if root is None or self._root_path is not None:
            # Whoever names a file means it, even if the keyring has a root of its own.
            root = self._read_root(passphrase)
        key = SigningPrivateKey.from_bytes(root)
        if key.public.raw != self._loaded.contents.root_public_key:
            raise KeyringError("the root key is not the one of this keyring")
        return key

    def _read_root(self, passphrase: bytes | None) -> bytes:
        if self._root_path is None or not self._root_path.exists():
            if self._loaded.root is not None:
                raise KeyringError(
                    f"there is no root key at {self._root_path}; it is in the keyring: leave --root away"
                )
            where = f"not at {self._root_path}" if self._root_path is not None else "not in its keyring"
            raise KeyringError(
                f"the root key of {self.namespace} is {where}: say with --root where its file is"
            )
        data, _ = read_private(self._root_path)
        protection, wrapping = read_protection(data), self._loaded.wrapping
        if passphrase is None and protection != wrapping.protection and self._root_passphrase is not None:
            passphrase = self._root_passphrase()
        if passphrase is not None:
            wrapping = unlock(data, KeyringAccess.by(passphrase))
        return decode_root(data, self._loaded.contents, wrapping)


def _load(data: bytes, version: FileVersion, wrapping: WrappingKey) -> _Loaded:
    current = wrapping.follow(read_protection(data))
    try:
        contents, root = decode_keyring(data, current)
    except KeyringError:
        if current.protection == wrapping.protection:
            raise
        raise KeyringError("the keyring was protected anew: open it again") from None
    active_signing = contents.in_state(KeyKind.SIGNING, KeyState.ACTIVE)
    active_encryption = contents.in_state(KeyKind.ENCRYPTION, KeyState.ACTIVE)
    signing_secret = active_signing[-1].secret if active_signing else None
    decryption = {
        key.record.key_id: EncryptionPrivateKey.from_seed(key.secret)
        for key in contents.keys
        if key.record.kind is KeyKind.ENCRYPTION and key.secret is not None
    }
    return _Loaded(
        version=version,
        contents=contents,
        wrapping=current,
        root=root,
        signing=None if signing_secret is None else SigningPrivateKey.from_bytes(signing_secret),
        decryption={bytes(key_id): key for key_id, key in decryption.items()},
        sealing=EncryptionPublicKey(active_encryption[-1].record.public_key) if active_encryption else None,
        own=OwnKeys(
            namespace=contents.namespace,
            trust_domain=contents.trust_domain,
            public_keys=tuple(key.record for key in contents.keys),
        ),
    )
