"""Secrets stay out of representations, log lines and tracebacks, whoever prints what."""

import asyncio
import dataclasses
import importlib
import inspect
import logging
import os
import pickle
import pkgutil
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.acceptance.deployment.team import PASSPHRASE, create_team
from tests.adversarial.canary import forms
from tests.adversarial.deceived import ENDPOINT, OWNER, QUEUE, Payments, PaymentsHandler

import isthmus.client
import isthmus.envelope
import isthmus.gateway
import isthmus.keys
import isthmus.payload
import isthmus.transport
import isthmus.wire
import isthmus.worker
from isthmus.client.assembly import assemble
from isthmus.client.custody import custody_settings, provider_of
from isthmus.client.profile import Profile
from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey
from isthmus.gateway.authn.development import DevelopmentIssuer
from isthmus.gateway.statement_key import StatementKey
from isthmus.keys.custody.aws_kms import AwsKms
from isthmus.keys.custody.openbao import OpenBaoTransit
from isthmus.keys.custody.pkcs11 import Pkcs11Token
from isthmus.keys.custody.provider import new_data_key
from isthmus.keys.keyring_access import KeyringAccess
from isthmus.keys.statements import next_keyset, sign_keyset
from isthmus.payload.payload import Payload
from isthmus.testing import LocalGateway
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import Connection, SyncConnection
from isthmus.transport.credentials import EnvironmentToken, FileToken

PACKAGES = (
    isthmus.client,
    isthmus.envelope,
    isthmus.gateway,
    isthmus.keys,
    isthmus.payload,
    isthmus.transport,
    isthmus.wire,
    isthmus.worker,
)
# Names of fields that hold a secret wherever they occur; files and public halves are none.
SECRET_NAMES = frozenset(
    {
        "secret", "secrets", "seed", "id_key", "passphrase", "password", "token", "private_key",
        "message_key", "root_secret", "root_key", "root_seed", "renewer_secret", "signer_key", "dek",
        "plaintext", "data", "input", "value", "openbao_token", "pkcs11_pin",
    }
)  # fmt: skip


def classes() -> Iterator[type]:
    """Return every class of the SDK and the gateway."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" in module.name:
                continue
            for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if found.__module__ == module.name:
                    yield found


def fields_of(found: type) -> tuple[str, ...]:
    """Return the fields of a dataclass, a struct or a named tuple; nothing for other classes."""
    if dataclasses.is_dataclass(found):
        return tuple(field.name for field in dataclasses.fields(found))
    if issubclass(found, msgspec.Struct):
        return found.__struct_fields__
    names: tuple[str, ...] = getattr(found, "_fields", ()) if issubclass(found, tuple) else ()
    return names


def shown_of(found: type, values: dict[str, object]) -> str:
    """Return the representation of an object with these values, which nothing checks."""
    if dataclasses.is_dataclass(found):
        made = object.__new__(found)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return repr(made)
    return repr(found(**values))


def test_field_is_not_shown_when_its_name_says_secret() -> None:
    """A class with a field that is named like a secret leaves it out of its representation."""
    shown: list[str] = []
    tried = 0
    for found in classes():
        names = fields_of(found)
        secret = SECRET_NAMES.intersection(names)
        if secret:
            tried += len(secret)
            printed = shown_of(found, {name: b"hush" if name in secret else b"loud" for name in names})
            if "hush" in printed or b"hush".hex() in printed:
                shown.append(f"{found.__module__}.{found.__qualname__}")
    assert tried >= 6
    assert shown == []


@dataclass(slots=True)
class Holdings:
    """Objects that hold secrets, and the secrets, none of which may be printed."""

    objects: list[object] = dataclasses.field(repr=False)
    secrets: list[bytes] = dataclasses.field(repr=False)

    def leaks(self, text: str) -> list[bytes]:
        """Return the secrets that a text shows, in any form."""
        printed = text.encode()
        return [
            secret
            for secret in self.secrets
            if any(form in printed for form in (*forms_of(secret), *forms_of(secret[:12])))
        ]


def forms_of(secret: bytes) -> Sequence[bytes]:
    """Return what a secret looks like when it is printed."""
    text = secret.decode("latin-1")
    return (repr(secret)[2:-1].encode(), secret.hex().encode(), *list(forms(text).values())[-6:])


@pytest.fixture
def holdings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Holdings:
    """One of everything that holds a secret, and what is made of it."""
    team = create_team(tmp_path, "data-team")
    keyring = team.open_keyring()
    contents = keyring.contents
    tokens = team.tokens()
    token_file = tmp_path / "token"
    token_file.write_text("eyJhbGciOiJFZERTQSJ9.secret-token", encoding="ascii")
    token_file.chmod(0o600)
    monkeypatch.setenv("ISTHMUS_PASSPHRASE", PASSPHRASE)
    profile = Profile(
        namespace="data-team",
        keyring=team.keyring_file,
        token_file=token_file,
        trust_store=team.trust_file,
    )
    parts = assemble(profile=profile, environment=os.environ)
    custody_token = "s.custody-token-of-the-server"
    custody_pin = "pin-of-the-token"
    environment = {"ISTHMUS_OPENBAO_TOKEN": custody_token, "ISTHMUS_PKCS11_PIN": custody_pin}
    data_key = new_data_key()
    transit = OpenBaoTransit(
        address="https://bao.example:8200",
        key="transit/data-team",
        token=custody_settings(profile, environment).openbao_token,
    )
    hardware = Pkcs11Token(
        module=Path("/module.so"), key="isthmus/key", pin=custody_settings(profile, environment).pkcs11_pin
    )
    gateway_key = Ed25519PrivateKey.generate()
    signing, encryption = SigningPrivateKey.generate(), EncryptionPrivateKey.generate()
    settings = ChannelSettings(address="localhost:1")
    sealed = Payload(content_type="", data=b"the plaintext of a payload", headers=(("x", "header-secret"),))
    return Holdings(
        objects=[
            keyring,
            contents,
            *contents.keys,
            keyring.root_key(),
            keyring.signer_key(),
            keyring.renewer_key(),
            keyring.signing_key(),
            keyring.decryption_key(keyring.sealing_key().key_id),
            keyring.own_keys(),
            sign_keyset(next_keyset(contents, now_ms=1_790_000_000_000), contents, keyring.signer_key()),
            keyring._loaded.wrapping,
            KeyringAccess.by(PASSPHRASE.encode()),
            KeyringAccess.by(transit),
            custody_settings(profile, environment),
            provider_of(profile, environment),
            transit,
            hardware,
            AwsKms(key="alias/data-team"),
            data_key,
            tokens,
            FileToken(token_file),
            EnvironmentToken("ISTHMUS_TOKEN"),
            profile,
            parts,
            SyncConnection(settings, tokens),
            signing,
            encryption,
            StatementKey(gateway_key),
            DevelopmentIssuer(gateway_key),
            sealed,
        ],
        secrets=[
            PASSPHRASE.encode(),
            custody_token.encode(),
            custody_pin.encode(),
            data_key.secret,
            keyring._loaded.wrapping.key,
            contents.id_key,
            keyring.root_key().to_bytes(),
            keyring.signer_key().to_bytes(),
            contents.renewer_secret or b"?",
            *(key.secret for key in contents.keys if key.secret is not None),
            token_file.read_bytes(),
            tokens.token().encode(),
            gateway_key.private_bytes_raw(),
            signing.to_bytes(),
            encryption.seed,
            b"the plaintext of a payload",
            b"header-secret",
        ],
    )


def test_secret_is_not_printed_when_its_holder_is(holdings: Holdings) -> None:
    """Neither repr, nor str, nor format, nor a container of any of them shows a secret."""
    for held in holdings.objects:
        for text in (repr(held), str(held), f"{held}", repr([held]), repr({"x": held})):
            assert holdings.leaks(text) == [], type(held)


def test_secret_is_not_in_a_traceback_when_locals_are_captured(holdings: Holdings) -> None:
    """Tools that print the local variables of every frame print representations."""
    for held in holdings.objects:
        shown = traceback_with(held)
        assert "held" in shown
        assert holdings.leaks(shown) == [], type(held)


def traceback_with(held: object) -> str:
    """Return what such a tool prints; not into a variable of a frame that the next one prints, too."""
    try:
        fail_with(held)
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    raise AssertionError("it fails")


def fail_with(held: object) -> None:
    """Fail in a frame that holds the object."""
    assert held is not None
    raise ValueError("for no reason")


def test_search_finds_a_secret_when_one_is_printed(holdings: Holdings) -> None:
    """The counterpart: the same search sees each of the secrets, as bytes, as hex and in base64."""
    for secret in holdings.secrets:
        for text in (
            repr(secret),
            secret.hex(),
            f"x{secret.decode('latin-1')}" if secret.isascii() else repr(secret),
        ):
            assert secret in holdings.leaks(text)


def test_private_key_is_not_pickled_when_somebody_tries(holdings: Holdings) -> None:
    """A private key does not leave its process by way of pickle."""
    for held in holdings.objects:
        try:
            pickled = pickle.dumps(held)
        except Exception:  # noqa: BLE001, S112 - whatever refuses is right
            continue
        assert not any(secret in pickled for secret in holdings.secrets if not secret.isascii()), type(held)


@pytest.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    """A gateway with one endpoint."""
    async with LocalGateway() as running:
        await running.endpoint(ENDPOINT, namespace=OWNER, task_queue=QUEUE, allow=["data-team"])
        yield running


async def test_secret_is_not_logged_when_everything_is(
    gateway: LocalGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """At level DEBUG, calls, failures and refusals of both sides log neither tokens nor keys nor payloads."""
    caplog.set_level(logging.DEBUG)
    about = await gateway.namespace("data-team")
    async with gateway.worker(OWNER, task_queue=QUEUE, nexus_service_handlers=[PaymentsHandler()]):
        client = await gateway.client("data-team")
        payments = client.create_nexus_client(ENDPOINT, Payments)
        assert (
            await payments.execute_operation(Payments.double, 7_300_000_000_000_123) == 14_600_000_000_000_246
        )
        with pytest.raises(Exception, match="id") as refused:
            await payments.execute_operation(
                Payments.double, 3, id="x" * 300, schedule_to_close_timeout=timedelta(seconds=1)
            )
    connection = Connection(ChannelSettings(address=about.address), about.credentials)
    await connection.close()
    contents = about.keyring.contents
    holdings = Holdings(
        objects=[],
        secrets=[
            about.credentials.token().encode(),
            contents.id_key,
            about.keyring.root_key().to_bytes(),
            about.keyring.signer_key().to_bytes(),
            contents.renewer_secret or b"?",
            *(key.secret for key in contents.keys if key.secret is not None),
            b"7300000000000123",
            b"14600000000000246",
        ],
    )
    shown = "".join(traceback.format_exception(refused.value))
    assert holdings.leaks(caplog.text + shown + repr(connection) + repr(client) + repr(about)) == []
    await asyncio.sleep(0)
