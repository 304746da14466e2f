"""The beginnings of a namespace's keys: its keyring, and a root of a single key that delegates at once.

Teams that want several people to sign for their keys make a root of several keys: see ``root_draft``.
"""

import os
from dataclasses import dataclass

from isthmus.envelope.identity import ID_KEY_BYTES
from isthmus.keys.contents import KeyringContents, new_key
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.root_draft import adopt, draft, sign_draft
from isthmus.wire.names import check_namespace, check_trust_domain
from isthmus.wire.public_key import KeyKind, KeyState


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """A new namespace's keyring, and the two keys that do not belong into it."""

    contents: KeyringContents
    root: HybridPrivateKey
    signer: HybridPrivateKey


def found(*, namespace: str, trust_domain: str, now_ms: int, keyset_life_ms: int | None = None) -> Founded:
    """Make the keys of a namespace with a root of one key, which delegates to a signer and a renewer.

    Raises:
        WireFormatError: the namespace or the trust domain is not valid.
    """
    root, signer = HybridPrivateKey.generate(), HybridPrivateKey.generate()
    contents = new_contents(namespace=namespace, trust_domain=trust_domain, now_ms=now_ms)
    drafted = draft(
        contents, keys=[root.public], signer=signer.public, now_ms=now_ms, keyset_life_ms=keyset_life_ms
    )
    return Founded(contents=adopt(contents, sign_draft(drafted, root)), root=root, signer=signer)


def new_contents(*, namespace: str, trust_domain: str, now_ms: int) -> KeyringContents:
    """Return a keyring with an active key of each kind, for which no root stands yet.

    Raises:
        WireFormatError: the namespace or the trust domain is not valid.
    """
    return KeyringContents(
        namespace=check_namespace(namespace),
        trust_domain=check_trust_domain(trust_domain),
        id_key=os.urandom(ID_KEY_BYTES),
        renewer_secret=HybridPrivateKey.generate().to_bytes(),
        keys=tuple(new_key(kind, state=KeyState.ACTIVE, now_ms=now_ms) for kind in KeyKind),
    )
