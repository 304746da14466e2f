"""The keyring file: JSON in which every secret is wrapped, and the whole is authenticated.

Each secret is wrapped with AES-256-GCM: in a file with ``kdf`` under a key that Argon2id (RFC 9106) derives
from the passphrase, 64 MiB, three passes; in a file with ``protection`` under a random data key, which it
keeps as a provider of ``custody`` wrapped it. The additional data, PAE("isthmus/keyring",
trust domain, namespace, kind, key id), keeps a secret in its place, and says nothing about the state, which
changes. A MAC over all other fields, under a key derived from the same secret, keeps states and public keys
in their place too.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey
from isthmus.keys.contents import KeyringContents, StoredKey
from isthmus.keys.custody.provider import KEYRING_ID_BYTES, MAX_WRAPPED_CHARS, KeyContext, WrappedKey
from isthmus.keys.errors import KeyringError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.names import KeyId
from isthmus.wire.pae import pae
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import SignedStatement, decode_signed_statement, encode_signed_statement

FORMAT: Final = "isthmus-keyring/3"
KEY_FORMAT: Final = "isthmus-key/1"
_FORMATS_BEFORE: Final = ("isthmus-keyring/1", "isthmus-keyring/2")
_CONTEXT = "isthmus/keyring"
_MAC_CONTEXT = "isthmus/keyring-mac"
_NONCE_BYTES = 12
_SALT_BYTES = 16
_KEY_BYTES = 32
_MAX_MEMORY_KIB = 1024 * 1024
_MAX_ITERATIONS = 64
_MAX_LANES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KdfParameters:
    """Parameters of Argon2id. The defaults take about a quarter of a second."""

    salt: bytes
    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        """Refuse what a hostile file could stall us with. Raises KeyringError."""
        fits = 0 < self.memory_kib <= _MAX_MEMORY_KIB and 0 < self.iterations <= _MAX_ITERATIONS
        if not fits or not 0 < self.lanes <= _MAX_LANES or len(self.salt) != _SALT_BYTES:
            raise KeyringError("the key derivation parameters of the keyring are out of range")


@unique
class KeyRole(Enum):
    """What a hybrid key in a file of its own is for."""

    ROOT = "root"
    SIGNER = "signer"
    ORGANIZATION = "organization"
    """A key of the root of an organization, whose name stands in place of the namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """Whose key a file holds, and what for."""

    role: KeyRole
    trust_domain: str
    namespace: str


def new_salt() -> bytes:
    """Return a fresh salt."""
    return os.urandom(_SALT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappingKey:
    """What a passphrase was stretched to, or the data key that a provider unwrapped.

    Kept in memory, so that a rewritten file can be read without either of them.
    """

    protection: "Protection"
    key: bytes = field(repr=False)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse."""
        raise TypeError("the key of a keyring cannot be pickled or copied")

    @classmethod
    def derive(cls, passphrase: bytes, parameters: KdfParameters) -> "WrappingKey":
        """Stretch a passphrase. Raises KeyringError when it is empty."""
        if not passphrase:
            raise KeyringError("the passphrase of the keyring is empty")
        kdf = Argon2id(
            salt=parameters.salt,
            length=_KEY_BYTES,
            iterations=parameters.iterations,
            lanes=parameters.lanes,
            memory_cost=parameters.memory_kib,
        )
        return cls(protection=parameters, key=kdf.derive(passphrase))

    def follow(self, protection: "Protection") -> "WrappingKey":
        """Return the key for a file that another process rewrote: a provider may have wrapped it again.

        Raises:
            KeyringError: it is protected in another way now.

        """
        if protection == self.protection:
            return self
        before = self.protection
        if isinstance(protection, WrappedKey) and isinstance(before, WrappedKey):
            return WrappingKey(protection=protection, key=self.key)
        raise KeyringError("the keyring is protected by something else than before: open it again")


Protection = KdfParameters | WrappedKey
"""Where the key of a file comes from."""


def read_protection(data: bytes) -> Protection:
    """Return where the key of a keyring or key file comes from. Raises KeyringError."""
    document = _load(data)
    try:
        if "protection" in document:
            return _read_wrapped_key(document["protection"])
        kdf = document["kdf"]
        return KdfParameters(
            salt=_unb64(kdf["salt"]),
            memory_kib=int(kdf["memory_kib"]),
            iterations=int(kdf["iterations"]),
            lanes=int(kdf["lanes"]),
        )
    except (KeyError, TypeError, ValueError):
        raise KeyringError("the keyring file is damaged") from None


def read_context(data: bytes) -> KeyContext:
    """Return which keyring the data key of a file in custody is of. Raises KeyringError."""
    document = _load(data)
    try:
        return KeyContext(
            trust_domain=str(document["trust_domain"]),
            namespace=str(document["namespace"]),
            keyring_id=_read_wrapped_key(document["protection"]).keyring_id,
        )
    except (KeyError, TypeError, ValueError):
        raise KeyringError("the keyring file is damaged") from None


def encode_keyring(contents: KeyringContents, wrapping: WrappingKey) -> bytes:
    """Serialize a keyring."""
    place = _Place(contents.trust_domain, contents.namespace, wrapping)
    document: dict[str, Any] = {
        "format": FORMAT,
        **_protection(wrapping.protection),
        "trust_domain": contents.trust_domain,
        "namespace": contents.namespace,
        "id_key": place.wrap(contents.id_key, "id-key", b""),
        "roots": [*map(_encode_statement, contents.roots)],
        "delegation": None if contents.delegation is None else _encode_statement(contents.delegation),
        "renewer": None
        if contents.renewer_secret is None
        else place.wrap(contents.renewer_secret, "renewer", b""),
        "keyset_version": contents.keyset_version,
        "keyset_hash": _b64(contents.keyset_hash),
        "keys": [_encode_key(key, place) for key in contents.keys],
    }
    return _seal_document(document, wrapping)


def decode_keyring(data: bytes, wrapping: WrappingKey) -> KeyringContents:
    """Return the contents of a keyring.

    Raises:
        KeyringError: wrong passphrase or data key, damaged, or secrets that do not belong to the public keys
            beside them.

    """
    document = _open_document(data, FORMAT, wrapping)
    try:
        place = _Place(document["trust_domain"], document["namespace"], wrapping)
        delegation, renewer = document["delegation"], document["renewer"]
        return KeyringContents(
            namespace=document["namespace"],
            trust_domain=document["trust_domain"],
            id_key=place.unwrap(document["id_key"], "id-key", b""),
            roots=tuple(map(_decode_statement, document["roots"])),
            delegation=None if delegation is None else _decode_statement(delegation),
            renewer_secret=None if renewer is None else place.unwrap(renewer, "renewer", b""),
            keys=tuple(_decode_key(key, place) for key in document["keys"]),
            keyset_version=document["keyset_version"],
            keyset_hash=_unb64(document["keyset_hash"]),
        )
    except (KeyError, TypeError, ValueError, InvalidTag):
        raise KeyringError("the keyring file is damaged") from None


def encode_key(key: HybridPrivateKey, about: KeyFile, wrapping: WrappingKey) -> bytes:
    """Serialize the private key of a root or a signer for a file of its own.

    Raises:
        KeyringError: it would not be protected by a passphrase.

    """
    if not isinstance(wrapping.protection, KdfParameters):
        raise KeyringError(
            "the files of root and signer need a passphrase: they are kept where no provider is"
        )
    place = _Place(about.trust_domain, about.namespace, wrapping)
    document: dict[str, Any] = {
        "format": KEY_FORMAT,
        "role": about.role.value,
        "trust_domain": about.trust_domain,
        "namespace": about.namespace,
        "kdf": _kdf(wrapping.protection),
        "ed25519": _b64(key.public.ed25519),
        "ml_dsa_65": _b64(key.public.ml_dsa_65),
        "secret": place.wrap(key.to_bytes(), about.role.value, key.key_id),
    }
    return _seal_document(document, wrapping)


def decode_key(data: bytes, wrapping: WrappingKey) -> tuple[KeyFile, HybridPrivateKey]:
    """Return a private key of a file of its own, and what it is for. Raises KeyringError."""
    document = _open_document(data, KEY_FORMAT, wrapping)
    try:
        about = KeyFile(
            role=KeyRole(document["role"]),
            trust_domain=document["trust_domain"],
            namespace=document["namespace"],
        )
        public = HybridPublicKey(ed25519=_unb64(document["ed25519"]), ml_dsa_65=_unb64(document["ml_dsa_65"]))
        place = _Place(about.trust_domain, about.namespace, wrapping)
        key = HybridPrivateKey.from_bytes(place.unwrap(document["secret"], about.role.value, public.key_id))
    except (KeyError, TypeError, ValueError, InvalidTag):
        raise KeyringError("the key file is damaged") from None
    if key.public != public:
        raise KeyringError("the key file is damaged")
    return about, key


class _Place:
    """Wraps the secrets of one namespace, each bound to its place."""

    def __init__(self, trust_domain: str, namespace: str, wrapping: WrappingKey) -> None:
        self._trust_domain = trust_domain
        self._namespace = namespace
        self._aead = AESGCM(wrapping.key)

    def wrap(self, secret: bytes, kind: str, key_id: bytes) -> dict[str, str]:
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = self._aead.encrypt(nonce, secret, self._bound_to(kind, key_id))
        return {"nonce": _b64(nonce), "ciphertext": _b64(wrapped)}

    def unwrap(self, wrapped: Mapping[str, str], kind: str, key_id: bytes) -> bytes:
        nonce, ciphertext = _unb64(wrapped["nonce"]), _unb64(wrapped["ciphertext"])
        return self._aead.decrypt(nonce, ciphertext, self._bound_to(kind, key_id))

    def _bound_to(self, kind: str, key_id: bytes) -> bytes:
        return pae(_CONTEXT, self._trust_domain, self._namespace, kind, key_id)


def _encode_key(key: StoredKey, place: _Place) -> dict[str, Any]:
    record = key.record
    return {
        "key_id": record.key_id.hex(),
        "kind": record.kind.name.lower(),
        "state": record.state.name.lower(),
        "created_at_ms": record.created_at_ms,
        "public_key": _b64(record.public_key),
        "secret": None if key.secret is None else place.wrap(key.secret, record.kind.name, record.key_id),
    }


def _decode_key(entry: Mapping[str, Any], place: _Place) -> StoredKey:
    kind = KeyKind[entry["kind"].upper()]
    record = PublicKeyRecord(
        key_id=KeyId(bytes.fromhex(entry["key_id"])),
        kind=kind,
        state=KeyState[entry["state"].upper()],
        public_key=_unb64(entry["public_key"]),
        created_at_ms=int(entry["created_at_ms"]),
    )
    if entry["secret"] is None:
        return StoredKey(record=record, secret=None)
    secret = place.unwrap(entry["secret"], kind.name, record.key_id)
    if _public_of(kind, secret) != record.public_key:
        raise ValueError("a secret does not belong to its public key")
    return StoredKey(record=record, secret=secret)


def _public_of(kind: KeyKind, secret: bytes) -> bytes:
    if kind is KeyKind.ENCRYPTION:
        return EncryptionPrivateKey.from_seed(secret).public.raw
    return SigningPrivateKey.from_bytes(secret).public.raw


def _encode_statement(signed: SignedStatement) -> str:
    return _b64(encode_signed_statement(signed))


def _decode_statement(text: str) -> SignedStatement:
    return decode_signed_statement(_unb64(text))


def _protection(protection: Protection) -> dict[str, Any]:
    if isinstance(protection, KdfParameters):
        return {"kdf": _kdf(protection)}
    wrapped = {
        "provider": protection.provider,
        "key": protection.key,
        "wrapped": protection.wrapped,
        "keyring_id": protection.keyring_id.hex(),
    }
    return {"protection": wrapped}


def _read_wrapped_key(entry: Mapping[str, Any]) -> WrappedKey:
    provider, key, wrapped = entry["provider"], entry["key"], entry["wrapped"]
    keyring_id = bytes.fromhex(entry["keyring_id"])
    for text in (provider, key, wrapped):
        fits = isinstance(text, str) and 0 < len(text) <= MAX_WRAPPED_CHARS
        if not fits or not text.isascii() or not text.isprintable():
            raise ValueError("not printable")
    if len(keyring_id) != KEYRING_ID_BYTES:
        raise ValueError("not the id of a keyring")
    return WrappedKey(provider=provider, key=key, wrapped=wrapped, keyring_id=keyring_id)


def _kdf(parameters: KdfParameters) -> dict[str, Any]:
    return {
        "name": "argon2id",
        "salt": _b64(parameters.salt),
        "memory_kib": parameters.memory_kib,
        "iterations": parameters.iterations,
        "lanes": parameters.lanes,
    }


def _seal_document(document: dict[str, Any], wrapping: WrappingKey) -> bytes:
    return json.dumps({**document, "mac": _mac(document, wrapping)}, indent=2).encode() + b"\n"


def _open_document(data: bytes, format_: str, wrapping: WrappingKey) -> dict[str, Any]:
    document = _load(data)
    mac = document.pop("mac", "")
    if (found := document.get("format")) != format_:
        old = " (made by an earlier version: make it anew)" if found in _FORMATS_BEFORE else ""
        raise KeyringError(f"this is no file of the format {format_}{old}")
    if not isinstance(mac, str) or not hmac.compare_digest(mac, _mac(document, wrapping)):
        raise KeyringError(_not_its_key(wrapping.protection))
    return document


def _not_its_key(protection: Protection) -> str:
    if isinstance(protection, KdfParameters):
        return "wrong passphrase, or the file was changed by something else"
    return (
        f"what {protection.provider} unwrapped is not the key of this keyring: it answered with another one,"
        " or the keyring file was changed by something else"
    )


def _mac(document: Mapping[str, Any], wrapping: WrappingKey) -> str:
    key = hmac.digest(wrapping.key, _MAC_CONTEXT.encode(), hashlib.sha256)
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(key, canonical, hashlib.sha256).hexdigest()


def _load(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        raise KeyringError("the keyring file is not JSON") from None
    if not isinstance(document, dict):
        raise KeyringError("the keyring file is not a JSON object")
    return document


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
