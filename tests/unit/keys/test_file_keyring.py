"""The keyring file keeps secrets, refuses unsafe files, and follows what other processes write."""

import copy
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.keys.world import FAST, NOW_MS, PASSPHRASE, TRUST_DOMAIN, make_keyring

from isthmus.envelope.errors import KeyUnavailableError
from isthmus.keys import private_file, rotation
from isthmus.keys.contents import KeyringContents, new_key
from isthmus.keys.errors import KeyringError
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.key_file import read_key
from isthmus.keys.keyring_format import KdfParameters
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import Root


def add_encryption_key(keyring: FileKeyring) -> bytes:
    """Rotate the encryption key as another process would; returns the new key's id."""
    key = new_key(KeyKind.ENCRYPTION, state=KeyState.PRE_PUBLISHED, now_ms=NOW_MS + 1)
    keyring.update(lambda contents: rotation.pre_publish(contents, key))
    keyring.update(lambda contents: rotation.activate(contents, KeyKind.ENCRYPTION))
    return key.record.key_id


def test_keyring_comes_back_when_it_is_opened_again(tmp_path: Path) -> None:
    """All keys, the id_key and the root."""
    made = make_keyring(tmp_path / "keys.json")
    opened = FileKeyring(tmp_path / "keys.json", PASSPHRASE)
    assert opened.contents == made.contents
    assert opened.signing_key().key_id == made.signing_key().key_id
    assert opened.root_key().public == made.root_key().public
    assert opened.decryption_key(made.sealing_key().key_id) is not None
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_default_parameters_are_those_that_are_documented() -> None:
    """Argon2id with 64 MiB and three passes."""
    parameters = KdfParameters(salt=bytes(16))
    assert (parameters.memory_kib, parameters.iterations) == (64 * 1024, 3)


def test_keyring_is_refused_when_the_passphrase_is_wrong(tmp_path: Path) -> None:
    """And when it is empty. A team has several files: the message names this one."""
    make_keyring(tmp_path / "keys.json")
    for passphrase in (b"wrong", b""):
        with pytest.raises(KeyringError, match=r"keys\.json: .*passphrase"):
            FileKeyring(tmp_path / "keys.json", passphrase)


def test_signer_is_named_when_its_passphrase_is_wrong(tmp_path: Path) -> None:
    """It may have another one than the keyring beside it."""
    make_keyring(tmp_path / "keys.json")
    with pytest.raises(KeyringError, match=r"keys\.json\.signer: wrong passphrase"):
        read_key(tmp_path / "keys.json.signer", b"wrong")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601])
def test_keyring_is_refused_when_others_have_access(tmp_path: Path, mode: int) -> None:
    """Group and others must have no right at all."""
    make_keyring(tmp_path / "keys.json")
    (tmp_path / "keys.json").chmod(mode)
    with pytest.raises(KeyringError, match="chmod 600"):
        FileKeyring(tmp_path / "keys.json", PASSPHRASE)


def test_keyring_is_refused_when_it_belongs_to_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the file can exchange it."""
    make_keyring(tmp_path / "keys.json")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(KeyringError, match="another user"):
        FileKeyring(tmp_path / "keys.json", PASSPHRASE)


def test_no_secret_is_in_clear_when_the_file_is_read(tmp_path: Path) -> None:
    """Neither raw nor in the encodings that the file uses."""
    keyring = make_keyring(tmp_path / "keys.json")
    text = (tmp_path / "keys.json").read_text()
    for name in ("keys.json.root", "keys.json.signer"):
        text += (tmp_path / name).read_text()
    assert keyring.contents.renewer_secret is not None
    hybrid = [keyring.root_key().to_bytes(), keyring.signer_key().to_bytes(), keyring.contents.renewer_secret]
    secrets = [keyring.id_key, *hybrid, *(secret[:32] for secret in hybrid)]
    secrets += [key.secret for key in keyring.contents.keys if key.secret]
    assert len(secrets) == 9
    for secret in secrets:
        assert secret.hex() not in text
        assert json.dumps(list(secret)) not in text
        assert secret not in text.encode()


def test_no_secret_is_shown_when_objects_are_printed_or_pickled(tmp_path: Path) -> None:
    """Representations end up in logs and tracebacks."""
    keyring = make_keyring(tmp_path / "keys.json")
    wrapping = keyring._loaded.wrapping
    shown = repr((keyring, keyring.contents, keyring.signing_key(), keyring._loaded, wrapping))
    for key in keyring.contents.keys:
        assert repr(key.secret) not in shown
    assert repr(keyring.id_key) not in shown
    assert repr(wrapping.key) not in shown
    assert repr(keyring.contents.renewer_secret) not in shown
    decryption = keyring.decryption_key(keyring.sealing_key().key_id)
    for private in (keyring.signing_key(), decryption):
        with pytest.raises(TypeError):
            pickle.dumps(private)
        with pytest.raises(TypeError):
            copy.copy(private)
        assert "PrivateKey(" in repr(private)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("keys", 1, "state"), "revoked"),
        (("keys", 1, "created_at_ms"), 1),
        (("keyset_version",), 7),
        (("namespace",), "mallory"),
        (("trust_domain",), "evil"),
        (("roots",), []),
        (("delegation",), None),
        (("renewer",), None),
        (("id_key", "ciphertext"), "AAAA"),
        (("format",), "isthmus-keyring/9"),
        (("mac",), ""),
        (("mac",), None),
        (("kdf", "iterations"), 2),
        (("kdf", "memory_kib"), 1 << 40),
        (("kdf", "salt"), "AAAA"),
    ],
)
def test_keyring_is_refused_when_anything_in_it_was_changed(
    tmp_path: Path, path: tuple[str | int, ...], value: object
) -> None:
    """Secrets and everything beside them are authenticated."""
    file = tmp_path / "keys.json"
    make_keyring(file)
    document = json.loads(file.read_text())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file.write_text(json.dumps(document))
    with pytest.raises(KeyringError):
        FileKeyring(file, PASSPHRASE)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"{}", b'{"kdf": 1}'])
def test_keyring_is_refused_when_it_is_no_keyring(tmp_path: Path, content: bytes) -> None:
    """Garbage is damage, not a crash."""
    private_file.replace_private(tmp_path / "keys.json", content)
    with pytest.raises(KeyringError):
        FileKeyring(tmp_path / "keys.json", PASSPHRASE)


def test_keyring_is_not_overwritten_when_it_is_created_twice(tmp_path: Path) -> None:
    """Losing an id_key or a root cannot be undone."""
    make_keyring(tmp_path / "keys.json")
    with pytest.raises(KeyringError, match="already"):
        make_keyring(tmp_path / "keys.json")


def test_new_key_is_found_at_once_when_another_process_added_it(tmp_path: Path) -> None:
    """An unknown id re-reads the file, without the passphrase."""
    writer = make_keyring(tmp_path / "keys.json")
    reader = FileKeyring(tmp_path / "keys.json", PASSPHRASE)
    old = reader.sealing_key().key_id
    key_id = add_encryption_key(writer)
    found = reader.decryption_key(key_id)
    assert found is not None
    assert found.key_id == key_id
    assert reader.decryption_key(old) is not None
    assert reader.sealing_key().key_id == key_id
    assert reader.decryption_key(bytes(16)) is None
    assert not reader.refresh()


def test_key_is_gone_for_good_when_it_was_destroyed(tmp_path: Path) -> None:
    """Another attempt makes no sense."""
    keyring = make_keyring(tmp_path / "keys.json")
    old = keyring.sealing_key().key_id
    add_encryption_key(keyring)
    keyring.update(lambda contents: rotation.retire(contents, old))
    with pytest.raises(KeyUnavailableError) as caught:
        FileKeyring(tmp_path / "keys.json", PASSPHRASE).decryption_key(old)
    assert caught.value.permanent


def test_no_update_is_lost_when_writers_compete(tmp_path: Path) -> None:
    """Each re-reads under the lock before it writes."""
    make_keyring(tmp_path / "keys.json")

    def count(_: int) -> None:
        def step(contents: KeyringContents) -> KeyringContents:
            return replace(contents, keyset_version=contents.keyset_version + 1)

        FileKeyring(tmp_path / "keys.json", PASSPHRASE).update(step)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(40)))
    assert FileKeyring(tmp_path / "keys.json", PASSPHRASE).contents.keyset_version == 40


def test_old_file_stays_when_the_writer_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before the rename leaves the old content, and no temporary file after an exception."""
    keyring = make_keyring(tmp_path / "keys.json")
    before = (tmp_path / "keys.json").read_bytes()

    def fail(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        keyring.record_keyset(1, bytes(32))
    assert (tmp_path / "keys.json").read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_identity_cannot_change_when_a_keyring_is_updated(tmp_path: Path) -> None:
    """Namespace, id_key and root are for ever."""
    keyring = make_keyring(tmp_path / "keys.json")
    with pytest.raises(KeyringError, match="keeps"):
        keyring.update(lambda contents: replace(contents, id_key=bytes(32)))


def test_root_is_apart_when_it_has_a_file_of_its_own(tmp_path: Path) -> None:
    """It can be taken offline, and the workers never see it."""
    root_path = tmp_path / "root.json"
    keyring = make_keyring(tmp_path / "keys.json", root_path=root_path)
    assert root_path.stat().st_mode & 0o777 == 0o600
    root = Root.decode(keyring.contents.roots[-1].statement)
    assert root.keys == (keyring.root_key(root_path).public,)
    with pytest.raises(KeyringError, match=r"not at .*keys.json.root.*--root"):
        keyring.root_key()
    root_path.unlink()
    with pytest.raises(KeyringError, match=r"not at .*root.json.*--root"):
        keyring.root_key(root_path)


def test_nothing_is_overwritten_when_one_of_the_files_is_there(tmp_path: Path) -> None:
    """A root that is lost is lost for good."""
    (tmp_path / "keys.json.root").write_text("somebody's root")
    with pytest.raises(KeyringError, match="there is one already"):
        make_keyring(tmp_path / "keys.json")
    assert (tmp_path / "keys.json.root").read_text() == "somebody's root"
    assert not (tmp_path / "keys.json").exists()


def test_root_is_refused_when_it_is_another_keyrings(tmp_path: Path) -> None:
    """Bound to its namespace and public key."""
    make_keyring(tmp_path / "a.json", root_path=tmp_path / "a-root.json")
    make_keyring(tmp_path / "b.json", namespace="other", root_path=tmp_path / "b-root.json")
    mixed = FileKeyring(tmp_path / "a.json", PASSPHRASE)
    with pytest.raises(KeyringError, match="the root key of other"):
        mixed.root_key(tmp_path / "b-root.json")
    with pytest.raises(KeyringError, match="the signer key of app-team"):
        mixed.root_key(tmp_path / "a.json.signer")
    (tmp_path / "c").mkdir()
    make_keyring(tmp_path / "c" / "a.json")
    with pytest.raises(KeyringError, match="not one of"):
        mixed.root_key(tmp_path / "c" / "a.json.root")
    with pytest.raises(KeyringError, match="another signer"):
        mixed.signer_key(tmp_path / "c" / "a.json.signer")


def test_keyring_is_opened_anew_when_its_passphrase_changed(tmp_path: Path) -> None:
    """What was stretched before does not fit any more; the old keys stay in use."""
    keyring = make_keyring(tmp_path / "keys.json")
    for path in tmp_path.glob("keys.json*"):
        path.unlink()
    FileKeyring.create(
        tmp_path / "keys.json",
        b"new",
        namespace="app-team",
        trust_domain=TRUST_DOMAIN,
        now_ms=NOW_MS,
        parameters=replace(FAST, salt=b"another salt 16b"),
    )
    key_id = keyring.sealing_key().key_id
    with pytest.raises(KeyringError, match="open it again"):
        keyring.refresh()
    assert keyring.decryption_key(key_id) is not None
