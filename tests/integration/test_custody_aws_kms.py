"""Custody of AWS KMS, as far as moto plays it.

What moto does not enforce is not claimed: it encrypts and decrypts with keys that are disabled or about to be
deleted, and knows no permissions.
"""

import base64
import json
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.client.assembly import assemble
from isthmus.client.profile import Profile
from isthmus.keys.custody.aws_kms import AwsKms
from isthmus.keys.custody.provider import DataKey, KeyContext, WrappedKey, new_data_key
from isthmus.keys.errors import CustodyError, CustodyUnavailableError, KeyringError
from isthmus.keys.file_keyring import FileKeyring

CONTEXT = KeyContext(trust_domain="acme", namespace="data-team", keyring_id=bytes(16))
SECRET_ACCESS_KEY = "aws-secret-of-the-tests"
ARN = "arn:aws:kms:eu-central-1:123456789012:key/7c010764-cecc-4769-a05d-8c8b383a0d1e"

Kms = Any
"""The library makes its clients at run time."""


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What AWS's own tools find; nothing of this machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def kms() -> Iterator[Kms]:
    """The service as its operator has it, not in the region that the environment says."""
    with mock_aws():
        yield boto3.client("kms", region_name="eu-central-1")


def make_key(kms: Kms) -> str:
    """Make a key and return its ARN."""
    made: str = kms.create_key()["KeyMetadata"]["Arn"]
    return made


def create(path: Path, custody: AwsKms) -> FileKeyring:
    """Make a keyring in its custody."""
    return FileKeyring.create(
        path, custody, namespace="data-team", trust_domain="acme", now_ms=1, key_passphrase=b"another"
    )


def test_key_comes_back_when_it_was_wrapped_for_this_context(kms: Kms) -> None:
    """Trust domain, namespace and keyring are the encryption context; each of them counts."""
    custody, key = AwsKms(key=make_key(kms)), new_data_key()
    wrapped = custody.wrap(key, CONTEXT)
    assert custody.unwrap(wrapped, CONTEXT).matches(key)
    for other in (
        KeyContext(trust_domain="evil", namespace="data-team", keyring_id=bytes(16)),
        KeyContext(trust_domain="acme", namespace="other-team", keyring_id=bytes(16)),
        KeyContext(trust_domain="acme", namespace="data-team", keyring_id=bytes(15) + b"1"),
    ):
        with pytest.raises(CustodyError, match="wrapped for another keyring, or was changed"):
            custody.unwrap(wrapped, other)
    for changed in ("AAAA", "%", wrapped[:-8] + "AAAAAAA="):
        with pytest.raises(CustodyError, match=r"changed|damaged"):
            custody.unwrap(changed, CONTEXT)


def test_keyring_opens_and_is_wrapped_again_when_the_key_was_rotated(kms: Kms, tmp_path: Path) -> None:
    """What an older version of the key wrapped still opens."""
    custody = AwsKms(key=make_key(kms))
    contents = create(tmp_path / "keys.json", custody).contents
    kms.rotate_key_on_demand(KeyId=custody.key)
    keyring = FileKeyring(tmp_path / "keys.json", custody)
    keyring.rewrap(custody)
    assert FileKeyring(tmp_path / "keys.json", custody).contents == contents


def test_file_names_the_arn_when_an_alias_was_given(
    kms: Kms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alias can be pointed at another key; and the ARN says the region."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    arn = make_key(kms)
    kms.create_alias(AliasName="alias/data-team", TargetKeyId=arn)
    keyring = create(tmp_path / "keys.json", AwsKms(key="alias/data-team"))
    protection = keyring.protection
    assert isinstance(protection, WrappedKey)
    assert protection.key == arn
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert FileKeyring(tmp_path / "keys.json", AwsKms(key=protection.key)).contents == keyring.contents


def test_message_says_why_when_the_key_is_another_or_none(kms: Kms) -> None:
    """The one of the file decides, not the one that the ciphertext names."""
    wrapped = AwsKms(key=make_key(kms)).wrap(new_data_key(), CONTEXT)
    with pytest.raises(CustodyError, match=r"AccessDenied|IncorrectKey"):
        AwsKms(key=make_key(kms)).unwrap(wrapped, CONTEXT)
    for missing in (ARN, "alias/nothing"):
        with pytest.raises(CustodyError, match=r"does not wrap with .*NotFoundException"):
            AwsKms(key=missing).wrap(new_data_key(), CONTEXT)


def test_message_says_what_to_set_when_aws_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, and for an alias the region."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(CustodyError, match=r"region.*as for AWS's own tools"):
        AwsKms(key="alias/data-team").wrap(new_data_key(), CONTEXT)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CustodyError, match=r"credentials.*as for AWS's own tools"):
        AwsKms(key=ARN).wrap(new_data_key(), CONTEXT)


def test_service_is_unavailable_when_it_cannot_be_reached_or_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port where nothing listens, and one that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(CustodyUnavailableError, match="ReadTimeoutError"):
            AwsKms(key=ARN, timeout_seconds=0.1).unwrap("AAAA", CONTEXT)
    with pytest.raises(CustodyUnavailableError, match="EndpointConnectionError"):
        AwsKms(key=ARN, timeout_seconds=0.1).unwrap("AAAA", CONTEXT)


@pytest.mark.parametrize("key", ["", "a b", "arn:aws:s3:::bucket", f"{ARN}\n", "x" * 300])
def test_key_is_refused_when_it_is_not_written_as_one(key: str) -> None:
    """An ARN, an id or an alias."""
    with pytest.raises(KeyringError, match="an ARN, an id or alias/name"):
        AwsKms(key=key)


def test_nothing_secret_is_shown_when_anything_fails(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that print the variables of every frame see neither credentials nor data key."""
    key, good = DataKey(b"k7" * 16), AwsKms(key=make_key(kms))
    wrapped = good.wrap(key, CONTEXT)
    other = KeyContext(trust_domain="acme", namespace="x", keyring_id=bytes(16))

    def unreachable() -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
        AwsKms(key=ARN, timeout_seconds=0.1).wrap(key, CONTEXT)

    shown = repr(good)
    for attempt in (
        lambda: AwsKms(key=ARN).wrap(key, CONTEXT),
        lambda: good.unwrap(wrapped, other),
        unreachable,
    ):
        with pytest.raises(CustodyError) as caught:
            attempt()
        assert caught.value.__context__ is None
        whole = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        shown += "".join(whole.format())
    for secret in (
        SECRET_ACCESS_KEY,
        "k7k7",
        key.secret.hex()[:20],
        base64.b64encode(key.secret).decode()[:20],
    ):
        assert secret not in shown


def test_command_line_and_client_open_it_when_the_file_says_who(kms: Kms, tmp_path: Path) -> None:
    """Nothing has to be set besides what AWS's own tools need."""
    arn = make_key(kms)
    environment = {
        "ISTHMUS_CONFIG": "",
        "XDG_CONFIG_HOME": str(tmp_path),
        "ISTHMUS_KEYRING": str(tmp_path / "keys.json"),
        "ISTHMUS_KEY_PASSPHRASE": "of root and signer",
    }
    words = ["keys", "init", "--namespace", "data-team", "--trust-domain", "acme"]
    for command in (
        [*words, "--custody", "aws-kms", "--custody-key", arn],
        ["keys", "protect"],
        ["keys", "show"],
    ):
        result = CliRunner().invoke(app, ["--output", "json", *command], env=environment)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["custody_key"] == arn
    profile = Profile(keyring=tmp_path / "keys.json", trust_store=tmp_path / "trust.json")
    assert assemble(profile=profile, environment={}).keyring.namespace == "data-team"
