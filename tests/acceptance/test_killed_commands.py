"""Every command about keys and trust, killed with SIGKILL at every fsync and every call, and repeated."""

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.kept_by_gateway import NAMESPACE, KeptByGateway
from tests.acceptance.killed_command import KILLED, kill_everywhere, run_forked

from isthmus.envelope.binding import wrap_info
from isthmus.keys.bundle_draft import encode_bundle_file, first_bundle, next_bundle, sign_bundle
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.private_file import replace_private
from isthmus.wire.bundle_statement import BundlePin
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import Delegation, Keyset

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(300)]
DOMAIN = "example.com"
PASSPHRASE = b"correct horse"
OTHER = "SHA256:" + bytes(range(32)).hex()
MESSAGE_KEY = bytes(range(32))
NOISE = {"stderr", "gateway.json"}


def keyring(folder: Path) -> FileKeyring:
    """Open the keyring."""
    return FileKeyring(folder / "keyring.json", PASSPHRASE)


def key_in(folder: Path, kind: KeyKind, state: KeyState) -> str:
    """Return the id of a key."""
    return keyring(folder).contents.in_state(kind, state)[0].record.key_id.hex()


@pytest.fixture(scope="module")
def unpublished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new keyring."""
    folder = tmp_path_factory.mktemp("unpublished")
    created = ("keys", "init", "--namespace", NAMESPACE, "--trust-domain", DOMAIN)
    assert run_forked(folder, created) == 0
    return folder


@pytest.fixture(scope="module")
def published(unpublished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published keyring, and a bundle of two versions that its team may take in."""
    folder = copy_of(unpublished, tmp_path_factory.mktemp("published"))
    assert run_forked(folder, ("keys", "publish")) == 0
    alice = HybridPrivateKey.generate()
    pin = BundlePin(namespace="data-team", fingerprint=bytes(32), endpoints=("reports",))
    now_ms = keyring(folder).contents.keys[0].record.created_at_ms
    draft = first_bundle(
        trust_domain=DOMAIN, organization="acme", keys=[alice.public], threshold=1, pins=[pin], now_ms=now_ms
    )
    one = sign_bundle(draft, alice)
    two = sign_bundle(next_bundle(one, pins=(), now_ms=now_ms), alice)
    (folder / "1.bundle").write_bytes(encode_bundle_file(one))
    (folder / "2.bundle").write_bytes(encode_bundle_file(two))
    fingerprint = "SHA256:" + one.roots[0].hash.hex()
    assert run_forked(folder, ("trust", "bundle", "add", "1.bundle", "--fingerprint", fingerprint)) == 0
    own = "SHA256:" + keyring(folder).contents.fingerprint.hex()
    assert run_forked(folder, ("trust", "add", NAMESPACE, "--fingerprint", own)) == 0
    return folder


@pytest.fixture(scope="module")
def rotated(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keyring whose keys were replaced, while the gateway keeps two messages for the old one."""
    folder = copy_of(published, tmp_path_factory.mktemp("rotated"))
    opened = keyring(folder)
    old = opened.sealing_key()
    wrap = old.wrap(MESSAGE_KEY, wrap_info(bytes(32), NAMESPACE, old.key_id))
    kept = {"key_id": old.key_id.hex(), "wrap": wrap.hex()}
    KeptByGateway(folder / "gateway.json").keep(messages={"a": kept, "b": kept})
    assert run_forked(folder, ("keys", "rotate", "--wait", "1s")) == 0
    return folder


def copy_of(folder: Path, to: Path) -> Path:
    """Return a copy."""
    return Path(shutil.copytree(folder, to, dirs_exist_ok=True))


def state_of(folder: Path) -> dict[str, Any]:
    """Return everything that a command leaves, without what is random in it."""
    found: dict[str, Any] = {
        "files": sorted(
            path.name for path in folder.iterdir() if path.name not in NOISE and path.suffix != ".lock"
        )
    }
    gateway = KeptByGateway(folder / "gateway.json")
    if (folder / "trust.json").exists():
        found["trust"] = (folder / "trust.json").read_bytes()
    if not (folder / "keyring.json").exists():
        return found
    contents = keyring(folder).contents
    assert contents.delegation is not None
    found |= {
        "keys": sorted((key.record.kind, key.record.state, key.secret is None) for key in contents.keys),
        "delegation": Delegation.decode(contents.delegation.statement).version,
        "version": contents.keyset_version,
    }
    if published := gateway.keysets():
        newest = Keyset.decode(published[-1].keyset.statement)
        is_said = {key.record for key in contents.keys} == set(newest.keys)
        found["newest"] = (newest.version, is_said, published[-1].renewal is None)
        found["hash"] = contents.keyset_hash == published[-1].hash
    states = {key.record.key_id.hex(): key.record.state for key in contents.keys}
    found["messages"] = [states[one["key_id"]] for one in gateway.state()["messages"].values()]
    return found


Words = Callable[[Path], tuple[str, ...]]
ENCRYPTION, SIGNING = KeyKind.ENCRYPTION, KeyKind.SIGNING


def old_key(folder: Path) -> str:
    """Return the encryption key that was replaced."""
    return key_in(folder, ENCRYPTION, KeyState.DECRYPT_ONLY)


COMMANDS: dict[str, tuple[str, Words]] = {
    "init": ("empty", lambda _: ("keys", "init", "--namespace", NAMESPACE, "--trust-domain", DOMAIN)),
    "publish": ("unpublished", lambda _: ("keys", "publish")),
    "rotate": ("published", lambda _: ("keys", "rotate", "--wait", "1s")),
    "delegate": ("published", lambda _: ("keys", "delegate")),
    "renew": ("published", lambda _: ("keys", "renew")),
    "status": ("rotated", lambda _: ("keys", "status")),
    "rewrap": ("rotated", lambda folder: ("keys", "rewrap", old_key(folder))),
    "destroy": ("rotated", lambda folder: ("keys", "destroy", old_key(folder), "--lose", "2")),
    "revoke encryption": (
        "published",
        lambda folder: ("keys", "revoke", key_in(folder, ENCRYPTION, KeyState.ACTIVE)),
    ),
    "revoke signing": (
        "published",
        lambda folder: ("keys", "revoke", key_in(folder, SIGNING, KeyState.ACTIVE)),
    ),
    "trust add": ("published", lambda _: ("trust", "add", "ai-team", "--fingerprint", OTHER)),
    "trust remove": ("published", lambda _: ("trust", "remove", NAMESPACE)),
    "trust list": ("published", lambda _: ("trust", "list")),
    "trust verify": ("published", lambda _: ("trust", "verify", NAMESPACE)),
    "trust bundle update": ("published", lambda _: ("trust", "bundle", "update", "2.bundle")),
    "trust bundle remove": ("published", lambda _: ("trust", "bundle", "remove", "acme")),
}
ALREADY = {"init": 5, "trust remove": 4, "trust bundle remove": 4}
"""What a command says that had done everything before it was killed."""
READS = {"status", "trust list"}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_ends_the_same_when_it_is_killed_anywhere_and_repeated(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Files, keys and what the gateway has are as if nothing had happened; nothing is left over."""
    begin, words_of = COMMANDS[name]
    base = tmp_path / "base"
    if begin == "empty":
        base.mkdir()
    else:
        copy_of(request.getfixturevalue(begin), base)
    ended = kill_everywhere(base, words_of(base))
    assert ended[0] == 0, (tmp_path / "0" / "stderr").read_text()
    expected = state_of(tmp_path / "0")
    for number, code in enumerate(ended[1:], start=1):
        folder = tmp_path / str(number)
        assert code in {0, ALREADY.get(name, 0)}, (number, (folder / "stderr").read_text())
        found = state_of(folder)
        if name == "delegate":
            # Killed after it had delegated, it does so once more: a later delegation replaces an earlier one.
            assert found["delegation"] - expected["delegation"] in {0, 1}, number
            found["delegation"] = expected["delegation"]
        assert found == expected, number
    assert len(ended) > (0 if name == "trust list" else 2 if name in READS else 4)


def test_what_a_killed_process_left_is_swept_and_what_another_one_writes_is_not(tmp_path: Path) -> None:
    """By the next one that writes the same file; whoever writes holds a lock on it."""
    path = tmp_path / "keyring.json"
    left, written, other = (tmp_path / f".{name}.tmp" for name in ("keyring.json.1", "keyring.json.2", "b.3"))
    for file in (left, written, other):
        file.write_text("")
    with written.open("w") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        replace_private(path, b"new")
    assert not left.exists()
    assert written.exists()
    assert other.exists()
    assert path.read_bytes() == b"new"


def test_init_removes_nothing_that_it_did_not_make_when_it_was_killed_before(
    tmp_path: Path, unpublished: Path
) -> None:
    """A root that somebody put there meanwhile stays, and init says so."""
    words = ("keys", "init", "--namespace", NAMESPACE, "--trust-domain", DOMAIN)
    kill_at = 7
    assert run_forked(tmp_path, words, kill_at=kill_at) == KILLED
    assert (tmp_path / "keyring.json.init").exists()
    shutil.copy(unpublished / "keyring.json.root", tmp_path / "keyring.json.root")
    assert run_forked(tmp_path, words) == 5
    assert "there is one already" in (tmp_path / "stderr").read_text()
    root = (tmp_path / "keyring.json.root").read_bytes()
    assert root == (unpublished / "keyring.json.root").read_bytes()
    assert json.loads(root)["namespace"] == NAMESPACE


def test_status_raises_the_alarm_when_the_published_keyset_is_not_this_keyrings(
    tmp_path: Path, published: Path, rotated: Path
) -> None:
    """An old copy of the keyring, or somebody else has the signer: monitoring sees it by the exit code."""
    copy_of(published, tmp_path)
    assert run_forked(tmp_path, ("keys", "status")) == 0
    shutil.copy(rotated / "gateway.json", tmp_path / "gateway.json")
    assert run_forked(tmp_path, ("keys", "status")) == 1
    assert "ALARM" in (tmp_path / "stderr").read_text()
