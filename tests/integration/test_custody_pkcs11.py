"""Custody of a real PKCS #11 module, SoftHSM 2."""

import base64
import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest
from tests.integration.softhsm import PIN, TOKEN, SoftHsm, softhsm
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.client.assembly import assemble
from isthmus.client.profile import Profile
from isthmus.keys.custody.pkcs11 import Pkcs11Token
from isthmus.keys.custody.provider import DataKey, KeyContext, new_data_key
from isthmus.keys.errors import CustodyError, KeyringError
from isthmus.keys.file_keyring import FileKeyring

CONTEXT = KeyContext(trust_domain="acme", namespace="data-team", keyring_id=bytes(16))
OTHER = KeyContext(trust_domain="acme", namespace="other-team", keyring_id=bytes(16))


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """A token."""
    with softhsm(tmp_path_factory.mktemp("softhsm")) as made:
        yield made


@pytest.fixture
def token(module: SoftHsm, request: pytest.FixtureRequest) -> Pkcs11Token:
    """A key of it for this test."""
    module.make_key(label_of(request))
    return custody(module, label_of(request))


def label_of(request: pytest.FixtureRequest) -> str:
    """Return the label of the key of a test."""
    return str(request.node.name)[-60:]


def custody(module: SoftHsm, label: str, *, pin: str = PIN, token: str = TOKEN) -> Pkcs11Token:
    """Return the provider."""
    return Pkcs11Token(module=module.module, key=f"{token}/{label}", pin=lambda: pin)


def create(path: Path, token: Pkcs11Token) -> FileKeyring:
    """Make a keyring in its custody."""
    return FileKeyring.create(
        path,
        token,
        namespace="data-team",
        trust_domain="acme",
        now_ms=1,
        key_passphrase=b"another",
    )


def test_key_comes_back_when_it_was_wrapped_for_this_context(token: Pkcs11Token) -> None:
    """And for no other; wrapped twice it looks different."""
    key = new_data_key()
    wrapped = token.wrap(key, CONTEXT)
    assert token.unwrap(wrapped, CONTEXT).matches(key)
    assert token.wrap(key, CONTEXT) != wrapped
    with pytest.raises(CustodyError, match="wrapped for another keyring, or with another key"):
        token.unwrap(wrapped, OTHER)
    for changed in ("", "AAAA", "%", wrapped[:-8], base64.b64encode(bytes(60)).decode()):
        with pytest.raises(CustodyError):
            token.unwrap(changed, CONTEXT)


def test_keyring_opens_in_every_process_when_the_token_is_there(token: Pkcs11Token, tmp_path: Path) -> None:
    """And is changed, moved and wrapped again."""
    contents = create(tmp_path / "keys.json", token).contents
    keyring = FileKeyring(tmp_path / "keys.json", token)
    assert keyring.contents == contents
    keyring.rewrap(token)
    keyring.protect(token)
    keyring.record_keyset(1, bytes(32))
    assert FileKeyring(tmp_path / "keys.json", token).contents.keyset_version == 1


def test_key_in_the_token_is_its_own_when_somebody_asks_for_it(
    token: Pkcs11Token, module: SoftHsm, request: pytest.FixtureRequest
) -> None:
    """The token does not give it away: what the custody is worth."""
    assert token.key == f"{TOKEN}/{label_of(request)}"
    with pkcs11.lib(str(module.module)).get_token(token_label=TOKEN).open(user_pin=PIN) as session:
        key = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=label_of(request))
        with pytest.raises(pkcs11.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]


def test_message_says_why_when_the_token_does_not_open_it(
    token: Pkcs11Token, module: SoftHsm, request: pytest.FixtureRequest
) -> None:
    """PIN, labels, module: each is another mistake."""
    label = label_of(request)
    wrapped = token.wrap(new_data_key(), CONTEXT)
    nowhere = Pkcs11Token(module=Path("/nowhere.so"), key=token.key, pin=lambda: PIN)
    for broken, message in (
        (custody(module, label, pin="0000"), "its PIN is wrong.*tokens lock"),
        (custody(module, "nothing"), "no AES key of this label"),
        (custody(module, label, token="nobody"), "no token of this label"),
        (nowhere, "OS exception while loading /nowhere.so"),
    ):
        with pytest.raises(CustodyError, match=message):
            broken.unwrap(wrapped, CONTEXT)
    module.make_key(label)
    with pytest.raises(CustodyError, match="several AES keys of this label"):
        token.unwrap(wrapped, CONTEXT)


def test_keyring_does_not_open_when_its_key_was_destroyed(
    token: Pkcs11Token, module: SoftHsm, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Nor when another one has its label now; what runs runs on."""
    keyring = create(tmp_path / "keys.json", token)
    module.destroy_key(label_of(request))
    with pytest.raises(CustodyError, match="no AES key of this label"):
        FileKeyring(tmp_path / "keys.json", token)
    module.make_key(label_of(request))
    with pytest.raises(CustodyError, match="with another key"):
        FileKeyring(tmp_path / "keys.json", token)
    keyring.record_keyset(1, bytes(32))


def test_keyring_opens_when_somebody_else_in_the_process_is_logged_in(
    token: Pkcs11Token, module: SoftHsm
) -> None:
    """A login is of the whole process; theirs stays."""
    wrapped = token.wrap(new_data_key(), CONTEXT)
    with pkcs11.lib(str(module.module)).get_token(token_label=TOKEN).open(user_pin=PIN) as theirs:
        token.unwrap(wrapped, CONTEXT)
        assert list(theirs.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}))


@pytest.mark.parametrize("key", ["", "isthmus", "/", "isthmus/", "/key", "a\nb/c", "t/" + "x" * 65])
def test_key_is_refused_when_it_is_not_written_as_labels(key: str) -> None:
    """TOKEN-LABEL/KEY-LABEL."""
    with pytest.raises(KeyringError, match="TOKEN-LABEL/KEY-LABEL"):
        Pkcs11Token(module=Path("x"), key=key, pin=str)


def test_nothing_secret_is_shown_when_anything_fails(token: Pkcs11Token, module: SoftHsm) -> None:
    """Tools that print the variables of every frame see neither PIN nor data key."""
    key = DataKey(b"k7" * 16)
    wrapped = token.wrap(key, CONTEXT)
    wrong = custody(module, "x", pin=f"{PIN}-wrong")
    failures = (lambda: wrong.wrap(key, CONTEXT), lambda: token.unwrap(wrapped, OTHER))
    shown = repr(token)
    for attempt in failures:
        with pytest.raises(CustodyError) as caught:
            attempt()
        assert caught.value.__context__ is None
        whole = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        shown += "".join(whole.format())
    for secret in (PIN, "k7k7", key.secret.hex()[:20], base64.b64encode(key.secret).decode()[:20]):
        assert secret not in shown


def test_command_line_and_client_open_it_when_the_profile_says_how(
    token: Pkcs11Token, module: SoftHsm, tmp_path: Path
) -> None:
    """The PIN from a file."""
    (tmp_path / "pin").write_text(f"{PIN}\n")
    (tmp_path / "pin").chmod(0o600)
    environment = {
        "ISTHMUS_CONFIG": "",
        "XDG_CONFIG_HOME": str(tmp_path),
        "ISTHMUS_KEYRING": str(tmp_path / "keys.json"),
        "ISTHMUS_PKCS11_MODULE": str(module.module),
        "ISTHMUS_PKCS11_PIN_FILE": str(tmp_path / "pin"),
        "ISTHMUS_KEY_PASSPHRASE": "of root and signer",
    }
    words = ["keys", "init", "--namespace", "data-team", "--trust-domain", "acme"]
    words += ["--custody", "pkcs11", "--custody-key", token.key]
    for command in (words, ["keys", "protect"], ["keys", "show"]):
        result = CliRunner().invoke(app, ["--output", "json", *command], env=environment)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["custody_key"] == token.key
        assert PIN not in result.output
    profile = Profile(
        keyring=tmp_path / "keys.json", trust_store=tmp_path / "trust.json", pkcs11_module=module.module
    )
    parts = assemble(profile=profile, environment={"ISTHMUS_PKCS11_PIN": PIN})
    assert parts.keyring.namespace == "data-team"
    assert PIN not in repr(parts)
