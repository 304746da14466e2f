"""A root of several keys, on its way from one key holder to the next.

A draft holds a new root, or none when the newest one delegates anew, and the delegation to a signer and a
renewer. Each holder adds a signature; once enough have signed, the team's keyring adopts it. A draft is
public: who changes it makes something that nobody signed.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from isthmus.keys.contents import KeyringContents
from isthmus.keys.errors import KeysError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.statements import add_signature, first_root, next_delegation, next_root
from isthmus.wire.chain import ChainError, verify_authority
from isthmus.wire.errors import WireFormatError
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.trust_statement import (
    Delegation,
    Root,
    SignedStatement,
    StatementKind,
    decode_signed_statement,
    encode_signed_statement,
)

FORMAT: Final = "isthmus-root-draft/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootDraft:
    """What key holders are asked to sign."""

    before: SignedStatement | None
    """The newest root until now; None for a first one."""
    root: SignedStatement | None
    """The new root; None when the one before stays."""
    delegation: SignedStatement

    @property
    def authority(self) -> SignedStatement:
        """The root that delegates."""
        root = self.root or self.before
        if root is None:
            raise KeysError("the draft has no root")
        return root

    def missing(self) -> dict[str, int]:
        """Return how many signatures are still missing, and from whom."""
        wanted: dict[str, int] = {}
        new = Root.decode(self.authority.statement)
        if self.root is not None:
            wanted["new root"] = _missing(new, self.root)
            if self.before is not None:
                wanted["old root"] = _missing(Root.decode(self.before.statement), self.root)
        wanted["delegation"] = _missing(new, self.delegation)
        return {what: count for what, count in wanted.items() if count}


def draft(
    contents: KeyringContents,
    *,
    keys: Sequence[HybridPublicKey] = (),
    threshold: int = 1,
    signer: HybridPublicKey,
    now_ms: int,
    keyset_life_ms: int | None = None,
) -> RootDraft:
    """Draft a root of these keys, or a delegation by the newest root when no keys are given.

    Keysets live for ``keyset_life_ms`` at a time; None is for as long as until now, seven days at first.

    Raises:
        KeysError: there is neither a root nor keys for one.
        ChainError: keys and threshold make no root.
    """
    before = contents.roots[-1] if contents.roots else None
    root: SignedStatement | None = None
    if keys and before is not None:
        made = next_root(before, keys=keys, threshold=threshold, now_ms=now_ms)
        root = SignedStatement(statement=made.encode())
    elif keys:
        made = first_root(
            trust_domain=contents.trust_domain,
            namespace=contents.namespace,
            keys=keys,
            threshold=threshold,
            now_ms=now_ms,
        )
        root = SignedStatement(statement=made.encode())
    authority = root or before
    if authority is None:
        raise KeysError(f"{contents.namespace} has no root yet: name the keys of the first one")
    delegation = next_delegation(
        authority,
        contents.delegation,
        signer=signer,
        renewer=_renewer_of(contents),
        now_ms=now_ms,
        max_renewal_ms=keyset_life_ms,
    )
    return RootDraft(before=before, root=root, delegation=SignedStatement(statement=delegation.encode()))


def sign_draft(unsigned: RootDraft, key: HybridPrivateKey) -> RootDraft:
    """Add a key's signatures wherever it has a say. Repeated, it changes nothing that counts.

    Raises:
        KeysError: it has none: it is a key of neither root.
    """
    new = Root.decode(unsigned.authority.statement)
    old = None if unsigned.before is None else Root.decode(unsigned.before.statement)
    in_new, in_old = (root is not None and root.key(key.key_id) == key.public for root in (new, old))
    if not in_new and not (in_old and unsigned.root is not None):
        raise KeysError(f"the key {key.key_id.hex()} belongs to no root of this draft")
    signed = unsigned
    if signed.root is not None:
        signed = replace(signed, root=add_signature(StatementKind.ROOT, signed.root, key))
    if in_new:
        signed = replace(signed, delegation=add_signature(StatementKind.DELEGATION, signed.delegation, key))
    return signed


def adopt(contents: KeyringContents, signed: RootDraft) -> KeyringContents:
    """Return a keyring's contents with the root and the delegation of a draft. Repeated, it changes nothing.

    Raises:
        KeysError: signatures are missing, the draft belongs to another keyring, or others came first.
    """
    roots = contents.roots
    if signed.root is not None and signed.root.hash != (roots[-1].hash if roots else None):
        before = None if signed.before is None else signed.before.hash
        if before != (roots[-1].hash if roots else None):
            raise KeysError("the draft follows another root than the newest one of this keyring")
        roots = (*roots, signed.root)
    if missing := signed.missing():
        lacking = ", ".join(f"{count} on the {what}" for what, count in missing.items())
        raise KeysError(f"signatures are missing: {lacking}")
    try:
        _, delegation = verify_authority(
            roots,
            signed.delegation,
            trust_domain=contents.trust_domain,
            namespace=contents.namespace,
            fingerprint=contents.roots[0].hash if contents.roots else None,
        )
    except ChainError as error:
        raise KeysError(f"the draft is not for this keyring: {error}") from None
    if delegation.renewer != _renewer_of(contents):
        raise KeysError("the draft delegates to another renewer than that of this keyring")
    known = contents.delegation
    if known is not None and Delegation.decode(known.statement).version > delegation.version:
        raise KeysError("the keyring has a newer delegation than the draft")
    return replace(contents, roots=roots, delegation=signed.delegation)


def encode_draft(made: RootDraft) -> bytes:
    """Serialize: JSON that says what it is to whoever opens it."""
    root = Root.decode(made.authority.statement)
    delegation = Delegation.decode(made.delegation.statement)
    document = {
        "format": FORMAT,
        "namespace": root.namespace,
        "trust_domain": root.trust_domain,
        "root_version": root.version,
        "fingerprint": made.authority.hash.hex(),
        "threshold": root.threshold,
        "keys": [key.key_id.hex() for key in root.keys],
        "signer": delegation.signer.key_id.hex(),
        "before": _encoded(made.before),
        "root": _encoded(made.root),
        "delegation": _encoded(made.delegation),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def decode_draft(data: bytes) -> RootDraft:
    """Parse. What is for people to read is not believed: only the statements count. Raises KeysError."""
    try:
        document: dict[str, Any] = json.loads(data)
        if document["format"] != FORMAT:
            raise KeysError(f"this is no file of the format {FORMAT}")
        delegation = _decoded(document["delegation"])
        if delegation is None:
            raise KeysError("the draft has no delegation")
        made = RootDraft(
            before=_decoded(document["before"]), root=_decoded(document["root"]), delegation=delegation
        )
        Root.decode(made.authority.statement)
        Delegation.decode(delegation.statement)
    except (KeyError, TypeError, ValueError, WireFormatError):
        raise KeysError("the draft is damaged") from None
    return made


def encode_public(key: HybridPublicKey) -> str:
    """Return a public key as one line of text, for a colleague who drafts a root."""
    return "isthmus-root-key " + base64.b64encode(key.ed25519 + key.ml_dsa_65).decode()


def decode_public(text: str) -> HybridPublicKey:
    """Read what encode_public wrote. Raises KeysError."""
    kind, _, encoded = text.strip().partition(" ")
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        data = b""
    key = HybridPublicKey(ed25519=data[:32], ml_dsa_65=data[32:])
    if kind != "isthmus-root-key" or not key.is_sound:
        raise KeysError("this is no public root key: it is what `isthmus root new` prints")
    return key


def _renewer_of(contents: KeyringContents) -> HybridPublicKey | None:
    renewer = contents.renewer()
    return None if renewer is None else renewer.public


def _missing(root: Root, signed: SignedStatement) -> int:
    by = {signature.key_id for signature in signed.signatures}
    return max(0, root.threshold - sum(key.key_id in by for key in root.keys))


def _encoded(signed: SignedStatement | None) -> str | None:
    if signed is None:
        return None
    return base64.b64encode(encode_signed_statement(signed)).decode()


def _decoded(text: str | None) -> SignedStatement | None:
    if text is None:
        return None
    return decode_signed_statement(base64.b64decode(text, validate=True))
