"""A keyring in custody: whose key a provider wraps, asked once, believed only as far as it can be checked."""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.keys.box_provider import BoxProvider
from tests.unit.keys.test_file_keyring import add_encryption_key
from tests.unit.keys.world import FAST, NOW_MS, PASSPHRASE, TRUST_DOMAIN, make_keyring

from isthmus.cli.key_custody import CustodyChoice
from isthmus.keys.custody.opening import Custody, CustodySettings, open_provider
from isthmus.keys.custody.provider import DataKey, KeyContext, WrappedKey, new_data_key
from isthmus.keys.errors import CustodyError, KeyringError
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring_access import KeyringAccess
from isthmus.keys.keyring_format import KdfParameters

ROOT = Path(__file__).resolve().parents[3]
OLD_FILE = Path(__file__).with_name("keyring_1.json")


@pytest.fixture
def box() -> BoxProvider:
    """A provider."""
    return BoxProvider()


@pytest.fixture
def file(tmp_path: Path, box: BoxProvider) -> Path:
    """A keyring in its custody."""
    path = tmp_path / "keys.json"
    create(path, box)
    box.calls.clear()
    return path


def create(path: Path, box: BoxProvider, **options: object) -> FileKeyring:
    """Make a keyring."""
    return FileKeyring.create(
        path,
        box,
        namespace="app-team",
        trust_domain=TRUST_DOMAIN,
        now_ms=NOW_MS,
        parameters=FAST,
        **{"key_passphrase": PASSPHRASE, **options},  # type: ignore[arg-type]
    )


def protection_in(path: Path) -> dict[str, str]:
    """Return what the file says about its custody."""
    found: dict[str, str] = json.loads(path.read_text())["protection"]
    return found


def test_provider_is_asked_once_when_the_keyring_is_opened_and_followed(file: Path, box: BoxProvider) -> None:
    """Nothing that other processes change needs it again, and no private key goes to it."""
    writer = FileKeyring(file, box)
    reader = FileKeyring(file, box)
    assert box.calls == ["unwrap", "unwrap"]
    key_id = add_encryption_key(writer)
    found = reader.decryption_key(key_id)
    assert found is not None
    assert found.key_id == key_id
    assert reader.contents == writer.contents
    assert box.calls == ["unwrap", "unwrap"]


def test_file_says_who_has_it_in_custody_when_it_is_read(file: Path, box: BoxProvider) -> None:
    """Provider and key, an id of the keyring's own, and no key in clear."""
    keyring = FileKeyring(file, box)
    document = json.loads(file.read_text())
    assert document["format"] == "isthmus-keyring/3"
    assert "kdf" not in document
    protection = keyring.protection
    assert isinstance(protection, WrappedKey)
    assert (protection.provider, protection.key) == ("box", "box/1")
    assert len(protection.keyring_id) == 16
    assert keyring._loaded.wrapping.key.hex() not in file.read_text()


def test_keyring_is_refused_when_the_provider_answers_with_another_key(file: Path, box: BoxProvider) -> None:
    """Whoever unwraps is believed only if the whole file verifies."""
    box.answers = [new_data_key()]
    with pytest.raises(KeyringError, match="what box unwrapped is not the key of this keyring"):
        FileKeyring(file, box)
    box.answers = [DataKey(b"short")]
    with pytest.raises(CustodyError, match="no key of a keyring"):
        FileKeyring(file, box)


def test_nothing_is_written_when_the_provider_does_not_give_back_what_it_wrapped(
    tmp_path: Path, file: Path, box: BoxProvider
) -> None:
    """A keyring that nobody can open would be lost."""
    before = file.read_bytes()
    keyring = FileKeyring(file, box)
    for attempt in (
        lambda: create(tmp_path / "second.json", box),
        lambda: keyring.protect(box),
        lambda: keyring.rewrap(box),
    ):
        box.answers = [new_data_key()]
        with pytest.raises(CustodyError, match="another key than the one that it wrapped"):
            attempt()
    assert not (tmp_path / "second.json").exists()
    assert file.read_bytes() == before


def test_wrapped_key_is_of_its_keyring_alone_when_it_is_moved(
    tmp_path: Path, file: Path, box: BoxProvider
) -> None:
    """Its context is bound: trust domain, namespace and the id of the keyring."""
    create(tmp_path / "second.json", box)
    document = json.loads(file.read_text())
    document["protection"]["wrapped"] = protection_in(tmp_path / "second.json")["wrapped"]
    file.write_text(json.dumps(document))
    with pytest.raises(CustodyError, match="not wrapped here"):
        FileKeyring(file, box)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "isthmus-keyring/1"),
        (("format",), "isthmus-keyring/9"),
        (("namespace",), "mallory"),
        (("trust_domain",), "evil"),
        (("keys", 1, "state"), "revoked"),
        (("mac",), ""),
        (("protection",), None),
        (("protection", "provider"), "other"),
        (("protection", "key"), "other/1"),
        (("protection", "key"), 7),
        (("protection", "key"), "a\nb"),
        (("protection", "wrapped"), "AAAAAAAAAAAAAAAAAAAAAAAA"),
        (("protection", "wrapped"), "A" * 100_000),
        (("protection", "keyring_id"), "00" * 16),
        (("protection", "keyring_id"), "00"),
    ],
)
def test_keyring_is_refused_when_anything_in_it_was_changed(
    file: Path, box: BoxProvider, path: tuple[str | int, ...], value: object
) -> None:
    """What the provider does not bind, the keyring's own MAC does."""
    document = json.loads(file.read_text())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file.write_text(json.dumps(document))
    with pytest.raises(KeyringError):
        FileKeyring(file, box)


def test_message_says_what_is_needed_when_a_keyring_is_opened_the_wrong_way(
    tmp_path: Path, file: Path, box: BoxProvider
) -> None:
    """A passphrase for one that is in custody, a provider for one that is not, another provider."""
    make_keyring(tmp_path / "plain.json")
    other = BoxProvider()
    other.name = "chest"
    for path, key, message in (
        (file, PASSPHRASE, "in the custody of box, no passphrase opens it"),
        (tmp_path / "plain.json", box, "protected by a passphrase"),
        (file, other, "custody of box, not of chest"),
    ):
        with pytest.raises(KeyringError, match=message):
            FileKeyring(path, key)


def test_old_file_is_refused_with_advice_when_it_is_of_an_earlier_version(tmp_path: Path) -> None:
    """A file of the first format, whose root was one key that signed keysets itself."""
    path = tmp_path / "keys.json"
    path.write_bytes(OLD_FILE.read_bytes())
    path.chmod(0o600)
    with pytest.raises(KeyringError, match="made by an earlier version: make it anew"):
        FileKeyring(path, PASSPHRASE)


def test_keyring_keeps_its_contents_when_it_moves_through_every_custody(
    tmp_path: Path, box: BoxProvider
) -> None:
    """Passphrase, provider, another provider, another passphrase; the one before opens it no more."""
    path, second = tmp_path / "keys.json", BoxProvider()
    contents = make_keyring(path).contents
    ways: list[bytes | BoxProvider] = [PASSPHRASE, box, second, b"new", PASSPHRASE]
    used = set()
    for before, after in itertools.pairwise(ways):
        keyring = FileKeyring(path, before)
        keyring.protect(after, parameters=KdfParameters(salt=os.urandom(16), memory_kib=64, iterations=1))
        opened = FileKeyring(path, after)
        assert opened.contents == keyring.contents == contents
        assert path.stat().st_mode & 0o777 == 0o600
        used.add(opened._loaded.wrapping.key)
        with pytest.raises(KeyringError):
            FileKeyring(path, before)
    assert len(used) == 4


def test_others_read_on_when_the_key_is_only_wrapped_again(file: Path, box: BoxProvider) -> None:
    """And what they write keeps what the provider wrapped last."""
    keyring, other = FileKeyring(file, box), FileKeyring(file, box)
    before = protection_in(file)
    keyring.rewrap(box)
    after = protection_in(file)
    assert after["wrapped"] != before["wrapped"]
    assert after["keyring_id"] == before["keyring_id"]
    other.record_keyset(4, bytes(32))
    assert protection_in(file) == after
    assert keyring.refresh()
    assert FileKeyring(file, box).contents.keyset_version == 4


def test_others_keep_their_keys_when_the_keyring_was_protected_anew(
    file: Path, box: BoxProvider, tmp_path: Path
) -> None:
    """They say that they have to open it again, and work on with what they have."""
    make_keyring(tmp_path / "plain.json")
    for path, key in ((file, box), (tmp_path / "plain.json", PASSPHRASE)):
        other = FileKeyring(path, key)
        key_id = other.sealing_key().key_id
        FileKeyring(path, key).protect(box)
        with pytest.raises(KeyringError, match="open it again"):
            other.refresh()
        with pytest.raises(KeyringError, match="open it again"):
            other.record_keyset(1, bytes(32))
        assert other.decryption_key(key_id) is not None


def test_key_is_not_wrapped_again_when_it_is_not_in_this_custody(tmp_path: Path, box: BoxProvider) -> None:
    """There is nothing to wrap again under a passphrase."""
    with pytest.raises(KeyringError, match="not in the custody of box"):
        make_keyring(tmp_path / "keys.json").rewrap(box)


@pytest.mark.parametrize("moment", ["write", "file fsync", "rename", "folder fsync"])
def test_keyring_opens_when_moving_it_breaks_off(
    tmp_path: Path, box: BoxProvider, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """By the old way or by the new, whole, whichever step was the last; repeating it leads to the end."""
    path = tmp_path / "keys.json"
    keyring = make_keyring(path)
    contents = keyring.contents
    calls = 0

    def failing(real: Callable[..., object], at: int) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == at:
                raise OSError("pulled the plug")
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as broken:
        if moment in {"file fsync", "folder fsync"}:
            broken.setattr(os, "fsync", failing(os.fsync, 1 if moment == "file fsync" else 2))
        elif moment == "rename":
            broken.setattr(Path, "replace", failing(Path.replace, 1))
        else:
            broken.setattr(os, "fdopen", failing(os.fdopen, 2))
        with pytest.raises(OSError, match="pulled the plug"):
            keyring.protect(box)
    moved = moment == "folder fsync"
    after = FileKeyring(path, box if moved else PASSPHRASE)
    assert after.contents == contents
    after.protect(box)
    assert FileKeyring(path, box).contents == contents


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.keys.world import FAST
from isthmus.keys.file_keyring import FileKeyring
path, moment = Path(sys.argv[1]), sys.argv[2]
keyring = FileKeyring(path, b"correct horse")
calls = 0
def counted(real):
    def call(*arguments):
        global calls
        calls += 1
        if f"{real.__name__} {calls}" == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call
if moment.startswith("fsync"):
    os.fsync = counted(os.fsync)
else:
    Path.replace = counted(Path.replace)
keyring.protect(b"new", parameters=FAST)
"""


@pytest.mark.parametrize("moment", ["fsync 1", "replace 1", "fsync 2"])
def test_keyring_opens_when_the_process_is_killed_while_it_is_protected_anew(
    tmp_path: Path, moment: str
) -> None:
    """With kill -9, at every step that leaves something on the disk; repeating it leads to the end."""
    path = tmp_path / "keys.json"
    contents = make_keyring(path).contents
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), moment],
        check=False,
        timeout=60,
        capture_output=True,
        cwd=ROOT,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    after = FileKeyring(path, b"new" if moment == "fsync 2" else PASSPHRASE)
    assert after.contents == contents
    after.protect(b"new", parameters=FAST)
    assert FileKeyring(path, b"new").contents == contents


def test_root_and_signer_have_a_passphrase_when_the_keyring_is_in_custody(
    tmp_path: Path, box: BoxProvider
) -> None:
    """They are kept where no provider is; without a passphrase nothing is made."""
    path = tmp_path / "keys.json"
    with pytest.raises(KeyringError, match="need a passphrase"):
        create(path, box, key_passphrase=None)
    assert not list(tmp_path.glob("keys.json*"))
    made = create(path, box, key_passphrase=b"for these")
    root, signer = made.root_key().public, made.signer_key().public
    opened = FileKeyring(path, KeyringAccess(provider=lambda _: box, key_passphrase=lambda: b"for these"))
    assert (opened.root_key().public, opened.signer_key().public) == (root, signer)
    without = FileKeyring(path, box)
    assert without.root_key(passphrase=b"for these").public == root
    with pytest.raises(KeyringError, match="passphrase of its own"):
        without.signer_key()
    for wrong in (b"wrong", b""):
        with pytest.raises(KeyringError):
            without.root_key(passphrase=wrong)


def test_root_file_keeps_its_passphrase_when_the_keyring_gets_another(tmp_path: Path) -> None:
    """It is offline, and nobody can rewrite it from here."""
    path = tmp_path / "keys.json"
    keyring = make_keyring(path)
    public = keyring.root_key().public
    keyring.protect(b"new", parameters=replace(FAST, salt=bytes(15) + b"1"))
    access = KeyringAccess(passphrase=lambda: b"new", key_passphrase=lambda: PASSPHRASE)
    assert FileKeyring(path, access).root_key().public == public


def test_data_key_shows_nothing_when_it_is_printed_or_pickled() -> None:
    """It passes through the frames that fail at start."""
    key = DataKey(b"k" * 32)
    assert "kk" not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert key.matches(DataKey(b"k" * 32))
    assert not key.matches(DataKey(b"k" * 31 + b"x"))


def test_contexts_differ_when_any_part_does() -> None:
    """Their encoding is unambiguous."""
    parts = [("a", "bc", b"1"), ("ab", "c", b"1"), ("a", "bc", b"2"), ("x", "bc", b"1")]
    bound = {KeyContext(trust_domain=t, namespace=n, keyring_id=i).bound for t, n, i in parts}
    assert len(bound) == 4


def test_command_line_offers_every_custody_when_asked() -> None:
    """Its choices are those of the SDK, and the passphrase."""
    assert set(CustodyChoice) == {"file", *Custody}


def test_library_of_a_provider_is_not_imported_when_nothing_uses_it() -> None:
    """An engine's process does not pay for a custody that is not its own."""
    program = (
        "import sys, isthmus.client, isthmus.worker, isthmus.cli.keys, isthmus.cli.key_custody\n"
        "print(sorted({'boto3', 'botocore', 'pkcs11'} & sys.modules.keys()))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert finished.stdout == "[]\n"


@pytest.mark.parametrize(
    ("custody", "library", "key"), [("pkcs11", "pkcs11", "isthmus/key"), ("aws-kms", "boto3", "alias/key")]
)
def test_message_says_what_to_install_when_a_library_is_missing(
    custody: str, library: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK alone has none of them."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"isthmus.keys.custody.{custody.replace('-', '_')}", raising=False)
    with pytest.raises(KeyringError, match=rf"needs {library}: pip install 'isthmus\[{custody}\]'"):
        open_provider(custody, key, CustodySettings(pkcs11_module=Path("/module.so")))


def test_provider_is_refused_when_it_is_unknown_or_not_set_up() -> None:
    """A file of a later release, or a profile without the settings."""
    with pytest.raises(KeyringError, match="knows no custody 'abacus'"):
        open_provider("abacus", "1", CustodySettings())
    with pytest.raises(KeyringError, match=r"openbao_address.*ISTHMUS_OPENBAO_ADDRESS"):
        open_provider("openbao", "transit/data-team", CustodySettings())
