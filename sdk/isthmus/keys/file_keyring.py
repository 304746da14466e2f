"""The default keyring: one private file, unwrapped once, re-read when somebody rewrote it."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from isthmus.envelope.errors import KeyUnavailableError, MissingKey
from isthmus.envelope.key_material import EncryptionPrivateKey, EncryptionPublicKey, SigningPrivateKey
from isthmus.keys.contents import KeyringContents
from isthmus.keys.custody.provider import (
    DataKey,
    KeyContext,
    KeyEncryptionProvider,
    WrappedKey,
    new_keyring_id,
)
from isthmus.keys.errors import CustodyError, KeyringError
from isthmus.keys.founding import found
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.in_use import in_use
from isthmus.keys.key_file import require_no_file
from isthmus.keys.keyring import OwnKeys
from isthmus.keys.keyring_access import KeyringAccess, take_into_custody, unlock
from isthmus.keys.keyring_format import (
    KdfParameters,
    KeyFile,
    KeyRole,
    Protection,
    WrappingKey,
    decode_key,
    decode_keyring,
    encode_key,
    encode_keyring,
    new_salt,
    read_protection,
)
from isthmus.keys.private_file import FileVersion, exclusive, read_private, replace_private, version_of
from isthmus.keys.unfinished import note_beginning, note_end, remove_unfinished, unfinished
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import Delegation, Keyset, Root


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    """What seals, signs and verifies now: by the file, or by the namespace's keyset if that is newer."""

    signing: SigningPrivateKey | None
    sealing: EncryptionPublicKey | None
    own: OwnKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """One reading of the file, with its keys loaded."""

    version: FileVersion
    contents: KeyringContents
    wrapping: WrappingKey
    decryption: dict[bytes, EncryptionPrivateKey]
    used: _Used


class FileKeyring:
    """The keys of a namespace in a file of mode 0600. A ``Keyring``; safe to share between threads.

    The passphrase is stretched once, or whoever has the file in custody unwraps its key once, and the result
    stays in memory; so a file that another process rewrote (a rotation, for example) is re-read without them.
    """

    __slots__ = ("_followed", "_key_passphrase", "_loaded", "_lock", "_path")

    def __init__(self, path: Path, passphrase: bytes | KeyEncryptionProvider | KeyringAccess) -> None:
        """Open a keyring with its passphrase, with its provider, or with whichever of both the file asks for.

        Raises:
            KeyringError: wrong passphrase, unsafe permissions, damaged or foreign file.
            CustodyError: the provider refuses, or cannot be asked (CustodyUnavailableError).
            FileNotFoundError: there is no such file.

        """
        data, version = read_private(path)
        self._path = path
        access = KeyringAccess.by(passphrase)
        self._key_passphrase = access.key_passphrase
        self._lock = threading.RLock()
        self._followed: Keyset | None = None
        try:
            self._loaded = _load(data, version, unlock(data, access))
        except CustodyError:
            raise
        except KeyringError as error:
            raise KeyringError(f"{path}: {error}") from error

    @classmethod
    def create(
        cls,
        path: Path,
        passphrase: bytes | KeyEncryptionProvider,
        *,
        namespace: str,
        trust_domain: str,
        now_ms: int,
        keyset_life_ms: int | None = None,
        root_path: Path | None = None,
        signer_path: Path | None = None,
        key_passphrase: bytes | None = None,
        parameters: KdfParameters | None = None,
    ) -> "FileKeyring":
        """Make the keyring of a namespace whose root is one key, with one active key of each kind.

        Root and signer get files of their own, beside the keyring unless their places are given; the root's
        belongs offline afterwards. A passphrase protects these files: ``key_passphrase``, or the keyring's.

        Raises:
            KeyFileExistsError: one of the files is there already.
            KeyringError: those of root and signer have no passphrase.
            CustodyError: the provider refuses, or cannot be asked (CustodyUnavailableError).
            WireFormatError: the namespace or the trust domain is not valid.

        """
        founded = found(
            namespace=namespace, trust_domain=trust_domain, now_ms=now_ms, keyset_life_ms=keyset_life_ms
        )
        return cls.store(
            path,
            passphrase,
            founded.contents,
            keys={
                root_path or beside(path, KeyRole.ROOT): (KeyRole.ROOT, founded.root),
                signer_path or beside(path, KeyRole.SIGNER): (KeyRole.SIGNER, founded.signer),
            },
            key_passphrase=key_passphrase,
            parameters=parameters,
        )

    @classmethod
    def store(
        cls,
        path: Path,
        passphrase: bytes | KeyEncryptionProvider,
        contents: KeyringContents,
        *,
        keys: Mapping[Path, tuple[KeyRole, HybridPrivateKey]],
        key_passphrase: bytes | None = None,
        parameters: KdfParameters | None = None,
    ) -> "FileKeyring":
        """Write a new keyring, last of all: the keys that go into files of their own are there before it.

        Killed before it is there, and repeated, it begins anew.

        Raises:
            KeyFileExistsError: one of the files is there already.
            KeyringError: those of the keys have no passphrase.
            CustodyError: the provider refuses, or cannot be asked (CustodyUnavailableError).

        """
        parameters = parameters or KdfParameters(salt=new_salt())
        if isinstance(passphrase, bytes):
            wrapping = WrappingKey.derive(passphrase, parameters)
        else:
            trust_domain, namespace = contents.trust_domain, contents.namespace
            context = KeyContext(trust_domain=trust_domain, namespace=namespace, keyring_id=new_keyring_id())
            wrapping = take_into_custody(passphrase, context)
        key_wrapping = wrapping
        if key_passphrase is not None:
            key_wrapping = WrappingKey.derive(key_passphrase, replace(parameters, salt=new_salt()))
        note = _note_beside(path)
        with exclusive(path):
            if path.exists():
                note_end(note)
            remove_unfinished(note)
            for there in (path, *keys):
                require_no_file(there)
            encoded = {
                key_path: encode_key(
                    key,
                    KeyFile(role=role, trust_domain=contents.trust_domain, namespace=contents.namespace),
                    key_wrapping,
                )
                for key_path, (role, key) in keys.items()
            }
            note_beginning(note, encoded)
            for key_path, data in encoded.items():
                replace_private(key_path, data)
            replace_private(path, encode_keyring(contents, wrapping))
            note_end(note)
        access = KeyringAccess.by(passphrase)
        if key_passphrase is not None:
            access = replace(access, key_passphrase=lambda: key_passphrase)
        return cls(path, access)

    @staticmethod
    def require_new(path: Path, keys: Iterable[Path], *, dry_run: bool = False) -> None:
        """Require what ``store`` does of the files that it would write, before anybody is asked anything.

        Nothing changes, except that a process is tidied up after that was killed when all of them were there;
        not in a dry run.

        Raises:
            KeyFileExistsError: one of them is there already, and not from a process that was killed.
        """
        if path.exists() and not dry_run:
            with exclusive(path):
                note_end(_note_beside(path))
        require_no_file(path)
        left = {left.resolve() for left in unfinished(_note_beside(path))}
        for there in keys:
            if there.resolve() not in left:
                require_no_file(there)

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
        key = self._loaded.used.signing
        if key is None:
            raise KeyringError(f"the keyring of {self.namespace} has no active signing key")
        return key

    def sealing_key(self) -> EncryptionPublicKey:
        """Return one's own active encryption key. Raises KeyringError when there is none."""
        key = self._loaded.used.sealing
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
        return self._loaded.used.own

    def refresh(self) -> bool:
        """Re-read the file when it was replaced or written. Returns whether it was.

        Raises:
            KeyringError: the new file cannot be used; the old keys stay loaded.

        """
        with self._lock:
            if version_of(self._path) == self._loaded.version:
                return False
            self._loaded = _load(*read_private(self._path), self._loaded.wrapping, self._followed)
            return True

    def follow(self, published: Keyset) -> None:
        """Use the keys that the namespace's newest keyset says are in use, unless the file is newer."""
        with self._lock:
            known = self._followed
            if known is None or known.version < published.version:
                self._followed = published
                self._loaded = _in_use(self._loaded, published)

    def update(self, change: Callable[[KeyringContents], KeyringContents]) -> KeyringContents:
        """Apply a change to the file as it is now, one writer at a time, and return the new contents.

        Raises:
            KeyringError: the change renames the namespace, or the file cannot be used.

        """
        with self._lock, exclusive(self._path):
            current = _load(*read_private(self._path), self._loaded.wrapping)
            changed = change(current.contents)
            before = current.contents
            identity = (changed.namespace, changed.trust_domain, changed.id_key)
            if identity != (before.namespace, before.trust_domain, before.id_key):
                raise KeyringError("a keyring keeps its namespace and its id_key")
            kept = [root.hash for root in changed.roots[: len(before.roots)]]
            if kept != [root.hash for root in before.roots]:
                raise KeyringError("a keyring keeps its roots: a new one follows them")
            if changed != before:
                replace_private(self._path, encode_keyring(changed, current.wrapping))
                current = _load(*read_private(self._path), current.wrapping)
            self._loaded = _in_use(current, self._followed)
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
            data = encode_keyring(current.contents, wrapping)
            # What cannot be read back must not replace what can.
            decode_keyring(data, wrapping)
            replace_private(self._path, data)
            self._loaded = _load(*read_private(self._path), wrapping, self._followed)

    def record_keyset(self, version: int, keyset_hash: bytes) -> None:
        """Remember the keyset that was signed last, so that the next one continues it."""
        self.update(lambda contents: replace(contents, keyset_version=version, keyset_hash=keyset_hash))

    def renewer_key(self) -> HybridPrivateKey | None:
        """Return the key that keeps the namespace's keyset alive, None where something else does."""
        return self._loaded.contents.renewer()

    def root_key(self, path: Path | None = None, *, passphrase: bytes | None = None) -> HybridPrivateKey:
        """Return a private key of the newest root, from its file; beside the keyring unless given.

        ``passphrase`` is needed only when the file has another one than the keyring.

        Raises:
            KeyringError: it is not here: it was taken offline, as it should be; or it is no key of the root.

        """
        key = self._key(KeyRole.ROOT, path, passphrase)
        roots = self._loaded.contents.roots
        if roots and Root.decode(roots[-1].statement).key(key.key_id) is None:
            raise KeyringError(f"the root key is not one of {self.namespace}'s")
        return key

    def signer_key(self, path: Path | None = None, *, passphrase: bytes | None = None) -> HybridPrivateKey:
        """Return the private key that signs keysets, from its file; beside the keyring unless given.

        ``passphrase`` is needed only when the file has another one than the keyring.

        Raises:
            KeyringError: it is not here, or the root delegated to another one.

        """
        key = self.any_signer_key(path, passphrase=passphrase)
        delegation = self._loaded.contents.delegation
        if delegation is not None and Delegation.decode(delegation.statement).signer != key.public:
            raise KeyringError(f"the root of {self.namespace} delegated to another signer than this one")
        return key

    def any_signer_key(
        self, path: Path | None = None, *, passphrase: bytes | None = None
    ) -> HybridPrivateKey:
        """Return what signer_key would, although the root did not delegate to it, or not yet."""
        return self._key(KeyRole.SIGNER, path, passphrase)

    def _key(self, role: KeyRole, path: Path | None, passphrase: bytes | None) -> HybridPrivateKey:
        where = path or beside(self._path, role)
        try:
            data, _ = read_private(where)
        except FileNotFoundError:
            raise KeyringError(
                f"the {role.value} key of {self.namespace} is not at {where}: "
                f"say with --{role.value} where its file is"
            ) from None
        wrapping = self._loaded.wrapping
        if passphrase is None and read_protection(data) != wrapping.protection:
            if self._key_passphrase is None:
                raise KeyringError(f"{where} has a passphrase of its own: pass that, too")
            passphrase = self._key_passphrase()
        if passphrase is not None:
            wrapping = unlock(data, KeyringAccess.by(passphrase))
        about, key = decode_key(data, wrapping)
        if about != KeyFile(role=role, trust_domain=self.trust_domain, namespace=self.namespace):
            raise KeyringError(
                f"{where} holds the {about.role.value} key of {about.namespace} ({about.trust_domain})"
            )
        return key


def beside(path: Path, role: KeyRole) -> Path:
    """Return where the key of a role is unless somebody says otherwise: beside its keyring."""
    return path.with_name(f"{path.name}.{role.value}")


def _note_beside(path: Path) -> Path:
    """Return where the note of a keyring is that is being made."""
    return path.with_name(f"{path.name}.init")


def _load(
    data: bytes, version: FileVersion, wrapping: WrappingKey, followed: Keyset | None = None
) -> _Loaded:
    current = wrapping.follow(read_protection(data))
    try:
        contents = decode_keyring(data, current)
    except KeyringError:
        if current.protection == wrapping.protection:
            raise
        raise KeyringError("the keyring was protected anew: open it again") from None
    decryption = {
        bytes(key.record.key_id): EncryptionPrivateKey.from_seed(key.secret)
        for key in contents.keys
        if key.record.kind is KeyKind.ENCRYPTION and key.secret is not None
    }
    used = _used(contents, followed)
    return _Loaded(version=version, contents=contents, wrapping=current, decryption=decryption, used=used)


def _in_use(loaded: _Loaded, followed: Keyset | None) -> _Loaded:
    return replace(loaded, used=_used(loaded.contents, followed))


def _used(contents: KeyringContents, followed: Keyset | None) -> _Used:
    current = in_use(contents, followed)
    active_signing = current.in_state(KeyKind.SIGNING, KeyState.ACTIVE)
    active_encryption = current.in_state(KeyKind.ENCRYPTION, KeyState.ACTIVE)
    secrets = [key.secret for key in active_signing if key.secret is not None]
    return _Used(
        signing=SigningPrivateKey.from_bytes(secrets[-1]) if secrets else None,
        sealing=EncryptionPublicKey(active_encryption[-1].record.public_key) if active_encryption else None,
        own=OwnKeys(
            namespace=current.namespace,
            trust_domain=current.trust_domain,
            public_keys=tuple(key.record for key in current.keys),
        ),
    )
