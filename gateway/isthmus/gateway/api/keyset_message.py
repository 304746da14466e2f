"""A signed keyset, parsed strictly: what is published once is verified by every peer."""

from datetime import datetime, timedelta
from itertools import pairwise

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError

from isthmus.gateway.commands.publish_keyset import SignedKeyset
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.v1 import key_service_pb2 as pb
from isthmus.wire import limits
from isthmus.wire.ed25519 import is_weak
from isthmus.wire.keyset import encryption_key_id, keyset_signed_bytes, signing_key_id
from isthmus.wire.names import DIGEST_BYTES, check_namespace

MAX_KEYSET_BYTES = 1024 * 1024
MAX_KEYS = 512
MAX_SUITES = 16
MAX_SUITE_CHARS = 200
# More than anybody publishes, and a number that every store and every language can hold.
MAX_VERSION = 2**53
MAX_LIFE = timedelta(days=90)
_ROOT_BYTES = 32
_SIGNATURE_BYTES = 64
_MILLISECOND = timedelta(milliseconds=1)

_STATES = {
    pb.KEY_KIND_ENCRYPTION: frozenset(
        {
            pb.KEY_STATE_PRE_PUBLISHED,
            pb.KEY_STATE_ACTIVE,
            pb.KEY_STATE_DECRYPT_ONLY,
            pb.KEY_STATE_DESTROYED,
            pb.KEY_STATE_REVOKED,
        }
    ),
    pb.KEY_KIND_SIGNING: frozenset(
        {
            pb.KEY_STATE_PRE_PUBLISHED,
            pb.KEY_STATE_ACTIVE,
            pb.KEY_STATE_VERIFY_ONLY,
            pb.KEY_STATE_RETIRED,
            pb.KEY_STATE_REVOKED,
        }
    ),
}
_KEY_BYTES = {pb.KEY_KIND_ENCRYPTION: 1216, pb.KEY_KIND_SIGNING: 32}
_KEY_ID = {pb.KEY_KIND_ENCRYPTION: encryption_key_id, pb.KEY_KIND_SIGNING: signing_key_id}


def read_signed_keyset(message: pb.SignedKeyset, *, trust_domain: str, now: datetime) -> SignedKeyset:
    """Parse and verify a signed keyset.

    Raises:
        InvalidRequestError: it is not in its canonical form, makes no sense, is out of date, or its signature
            is not the root's.
        WireFormatError: it names no valid namespace.
    """
    keyset = _parse(message.keyset)
    _require(keyset.trust_domain == trust_domain, f"the keyset is not of the trust domain {trust_domain}")
    namespace = check_namespace(keyset.namespace)
    _require(0 < keyset.version <= MAX_VERSION, f"versions go from 1 to {MAX_VERSION}")
    previous_bytes = 0 if keyset.version == 1 else DIGEST_BYTES
    _require(len(keyset.previous_hash) == previous_bytes, "previous_hash does not fit the version")
    _check_times(keyset, now)
    _check_suites(keyset)
    _check_keys(keyset, now)
    _check_signature(message)
    return SignedKeyset(
        namespace=namespace,
        version=keyset.version,
        previous_hash=keyset.previous_hash,
        keyset=message.keyset,
        root_public_key=message.root_public_key,
        signature=message.signature,
    )


def _parse(data: bytes) -> pb.Keyset:
    _require(len(data) <= MAX_KEYSET_BYTES, f"the keyset is larger than {MAX_KEYSET_BYTES} bytes")
    keyset = pb.Keyset()
    try:
        keyset.ParseFromString(data)
    except DecodeError:
        raise InvalidRequestError("the keyset is not a protobuf message", reason="KEYSET") from None
    # Without its unknown fields the message is what its values alone serialize to.
    keyset.DiscardUnknownFields()
    _require(
        keyset.SerializeToString(deterministic=True) == data,
        "the keyset is not in its canonical serialization",
    )
    return keyset


def _check_times(keyset: pb.Keyset, now: datetime) -> None:
    now_ms = int(now.timestamp() * 1000)
    _require(
        0 < keyset.issued_at_ms <= now_ms + limits.CLOCK_SKEW_MS, "issued_at is missing or ahead of time"
    )
    _require(keyset.expires_at_ms > max(keyset.issued_at_ms, now_ms), "the keyset has expired")
    life = keyset.expires_at_ms - keyset.issued_at_ms
    _require(life <= MAX_LIFE // _MILLISECOND, f"a keyset lives at most {MAX_LIFE.days} days")


def _check_suites(keyset: pb.Keyset) -> None:
    suites = list(keyset.suites)
    _require(0 < len(suites) <= MAX_SUITES, f"a keyset accepts 1 to {MAX_SUITES} suites")
    _require(len(set(suites)) == len(suites), "a suite is there twice")
    well_formed = all(0 < len(suite) <= MAX_SUITE_CHARS and suite.isprintable() for suite in suites)
    _require(well_formed, "a suite has no proper name")


def _check_keys(keyset: pb.Keyset, now: datetime) -> None:
    latest_ms = int(now.timestamp() * 1000) + limits.CLOCK_SKEW_MS
    _require(0 < len(keyset.keys) <= MAX_KEYS, f"a keyset has 1 to {MAX_KEYS} keys")
    ordered = all(a.key_id < b.key_id for a, b in pairwise(keyset.keys))
    _require(ordered, "the keys are not sorted by key id and unique")
    for key in keyset.keys:
        _require(key.kind in _STATES, "a key has no kind")
        _require(key.state in _STATES[key.kind], "a key has a state that its kind does not have")
        _require(len(key.public_key) == _KEY_BYTES[key.kind], "a public key has the wrong size")
        is_weak_key = key.kind == pb.KEY_KIND_SIGNING and is_weak(key.public_key)
        _require(not is_weak_key, "a signing key has a small order, or another spelling")
        _require(key.key_id == _KEY_ID[key.kind](key.public_key), "a key id is not that of its public key")
        _require(0 < key.created_at_ms <= latest_ms, "created_at of a key is missing or ahead of time")


def _check_signature(message: pb.SignedKeyset) -> None:
    _require(len(message.root_public_key) == _ROOT_BYTES, "the root's public key is not 32 bytes")
    _require(len(message.signature) == _SIGNATURE_BYTES, "the signature is not 64 bytes")
    _require(not is_weak(message.root_public_key), "the root's public key is of small order, or misspelled")
    try:
        root = Ed25519PublicKey.from_public_bytes(message.root_public_key)
        root.verify(message.signature, keyset_signed_bytes(message.keyset))
    except (InvalidSignature, ValueError):
        raise InvalidRequestError("the signature is not the root's", reason="KEYSET_SIGNATURE") from None


def _require(condition: bool, problem: str) -> None:  # noqa: FBT001
    if not condition:
        raise InvalidRequestError(problem, reason="KEYSET")
