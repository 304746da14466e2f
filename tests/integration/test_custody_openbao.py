"""Custody of a real OpenBao server, and of servers that lie or say nothing."""

import base64
import json
import socket
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.integration.openbao_server import OpenBaoServer, openbao_server
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.client.assembly import assemble
from isthmus.client.profile import Profile
from isthmus.keys.custody.openbao import OpenBaoTransit
from isthmus.keys.custody.provider import DataKey, KeyContext, WrappedKey, new_data_key
from isthmus.keys.errors import CustodyError, CustodyUnavailableError, KeyringError
from isthmus.keys.file_keyring import FileKeyring

CONTEXT = KeyContext(trust_domain="acme", namespace="data-team", keyring_id=bytes(16))
OTHER = KeyContext(trust_domain="acme", namespace="data-team", keyring_id=bytes(15) + b"1")
MAY_USE = """
path "transit/encrypt/{key}" {{ capabilities = ["update"] }}
path "transit/decrypt/{key}" {{ capabilities = ["update"] }}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBaoServer]:
    """A real one, with TLS."""
    with openbao_server(tmp_path_factory.mktemp("openbao")) as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A key of the server and a token that may use it, and nothing else."""

    server: OpenBaoServer
    name: str
    token: str

    def transit(self, *, token: str | None = None, name: str | None = None) -> OpenBaoTransit:
        """Return the provider."""
        return OpenBaoTransit(
            address=self.server.address,
            key=f"transit/{name or self.name}",
            token=lambda: token or self.token,
            ca_file=self.server.ca_file,
        )


@pytest.fixture
def granted(server: OpenBaoServer, request: pytest.FixtureRequest) -> Granted:
    """A key for this test."""
    name = request.node.name.partition("[")[0]
    server.ask(f"transit/keys/{name}")
    return Granted(server=server, name=name, token=server.token_of(name, MAY_USE.format(key=name)))


def create(path: Path, transit: OpenBaoTransit) -> FileKeyring:
    """Make a keyring in its custody."""
    return FileKeyring.create(
        path,
        transit,
        namespace="data-team",
        trust_domain="acme",
        now_ms=1,
        key_passphrase=b"another",
    )


def test_key_comes_back_when_it_was_wrapped_for_this_context(granted: Granted) -> None:
    """And for no other: the server authenticates it."""
    transit, key = granted.transit(), new_data_key()
    wrapped = transit.wrap(key, CONTEXT)
    assert wrapped.startswith("vault:v1:")
    assert transit.unwrap(wrapped, CONTEXT).matches(key)
    with pytest.raises(CustodyError, match=f"does not unwrap with transit/{granted.name}.*authentication"):
        transit.unwrap(wrapped, OTHER)


def test_token_is_refused_when_it_is_wrong_or_may_not_do_this(granted: Granted) -> None:
    """One that the server does not know, and one that may use another key."""
    wrapped = granted.transit().wrap(new_data_key(), CONTEXT)
    granted.server.ask("transit/keys/another")
    for transit in (granted.transit(token="s.wrong"), granted.transit(name="another")):
        with pytest.raises(CustodyError, match="its token is wrong or expired, or no policy"):
            transit.unwrap(wrapped, CONTEXT)
        with pytest.raises(CustodyError, match="its token is wrong or expired, or no policy"):
            transit.wrap(new_data_key(), CONTEXT)


def test_old_ciphertext_opens_when_the_key_was_rotated_and_is_renewed_by_protect(
    granted: Granted, tmp_path: Path
) -> None:
    """Until the server's operator retires the old version: then only what was wrapped again opens."""
    path, late = tmp_path / "keys.json", tmp_path / "late.json"
    contents = create(path, granted.transit()).contents
    create(late, granted.transit())
    running = FileKeyring(path, granted.transit())
    granted.server.ask(f"transit/keys/{granted.name}/rotate")
    keyring = FileKeyring(path, granted.transit())
    assert version_in(keyring) == "v1"
    keyring.rewrap(granted.transit())
    granted.server.ask(f"transit/keys/{granted.name}/config", {"min_decryption_version": 2})
    opened = FileKeyring(path, granted.transit())
    assert version_in(opened) == "v2"
    assert opened.contents == contents
    opened.record_keyset(1, bytes(32))
    assert running.refresh()
    with pytest.raises(CustodyError, match="too old"):
        FileKeyring(late, granted.transit())


def test_keyring_does_not_open_when_its_key_was_deleted(granted: Granted, tmp_path: Path) -> None:
    """For good: the message names the key, and what is running runs on."""
    keyring = create(tmp_path / "keys.json", granted.transit())
    granted.server.ask(f"transit/keys/{granted.name}/config", {"deletion_allowed": True})
    granted.server.ask(f"transit/keys/{granted.name}", method="DELETE")
    with pytest.raises(CustodyError, match=f"transit/{granted.name}: encryption key not found") as refused:
        FileKeyring(tmp_path / "keys.json", granted.transit())
    assert not isinstance(refused.value, CustodyUnavailableError)
    keyring.record_keyset(1, bytes(32))


def test_message_says_so_when_the_server_has_no_transit_engine_there(granted: Granted) -> None:
    """A misspelled mount; whoever may see everything is told."""
    root = OpenBaoTransit(
        address=granted.server.address,
        key="nowhere/key",
        token=lambda: "root-token-of-the-tests",
        ca_file=granted.server.ca_file,
    )
    with pytest.raises(CustodyError, match="there is no transit engine at nowhere"):
        root.wrap(new_data_key(), CONTEXT)


def test_server_is_refused_when_its_certificate_does_not_verify(granted: Granted) -> None:
    """It is signed by an authority that the system does not know."""
    transit = OpenBaoTransit(address=granted.server.address, key="transit/x", token=lambda: granted.token)
    with pytest.raises(CustodyUnavailableError, match="its certificate does not verify"):
        transit.wrap(new_data_key(), CONTEXT)


def test_keyring_waits_for_its_server_when_that_is_sealed(tmp_path: Path) -> None:
    """A server of its own: nobody can unseal it again."""
    with openbao_server(tmp_path) as own:
        own.ask("transit/keys/data-team")
        token = own.token_of("data-team", MAY_USE.format(key="data-team"))
        transit = Granted(server=own, name="data-team", token=token).transit()
        keyring = create(tmp_path / "keys.json", transit)
        own.ask("sys/seal")
        with pytest.raises(CustodyUnavailableError, match="sealed"):
            FileKeyring(tmp_path / "keys.json", transit)
        # Unwrapped once: what runs does not need the server.
        keyring.record_keyset(1, bytes(32))
    with pytest.raises(CustodyUnavailableError, match="cannot be asked: Connection refused"):
        FileKeyring(tmp_path / "keys.json", transit)


def version_in(keyring: FileKeyring) -> str:
    """Return which version of the server's key wrapped the keyring's."""
    protection = keyring.protection
    assert isinstance(protection, WrappedKey)
    return protection.wrapped.split(":")[1]


class _Liar(BaseHTTPRequestHandler):
    """Answers as it was told to."""

    status = 200
    answer = b""
    location = ""

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Say nothing."""


@contextmanager
def liar(status: int, answer: bytes, location: str = "") -> Generator[OpenBaoTransit]:
    """Yield the custody of a server on loopback that answers everything with this."""
    told = type("Told", (_Liar,), {"status": status, "answer": answer, "location": location})
    with ThreadingHTTPServer(("127.0.0.1", 0), told) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield at(httpd.server_port)
        finally:
            httpd.shutdown()
            thread.join()


def at(port: int, *, timeout_seconds: float = 10.0) -> OpenBaoTransit:
    """Return the custody of whatever listens on a port."""
    return OpenBaoTransit(
        address=f"http://127.0.0.1:{port}",
        key="transit/data-team",
        token=lambda: "s.token",
        timeout_seconds=timeout_seconds,
    )


def plaintext(secret: bytes) -> bytes:
    """Return an answer to decrypt."""
    return json.dumps({"data": {"plaintext": base64.b64encode(secret).decode()}}).encode()


def test_keyring_is_refused_when_the_server_answers_with_another_key(
    granted: Granted, tmp_path: Path
) -> None:
    """A key that the liar knows opens nothing, and nothing of what it encrypted is believed."""
    create(tmp_path / "keys.json", granted.transit())
    with (
        liar(200, plaintext(bytes(32))) as transit,
        pytest.raises(KeyringError, match="what openbao unwrapped is not the key of this keyring"),
    ):
        FileKeyring(tmp_path / "keys.json", transit)


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (200, plaintext(b"short"), "no key of a keyring"),
        (200, b"", "something else than a plaintext"),
        (200, b"[" * 60_000, "something else than a plaintext"),
        (200, b'{"data": {"plaintext": "%%%"}}', "no key of a keyring"),
        (200, b"x" * 100_000, "it answers with too much"),
        (400, b'{"errors": ["a\\u001b[31m\\nred"]}', "data-team: a\\[31mred$"),
        (400, b'{"errors": 7}', "data-team: 400$"),
        (429, b"", "now: 429"),
        (502, b"<html>", "now: 502"),
    ],
)
def test_message_is_harmless_when_the_server_answers_with_nonsense(
    granted: Granted, tmp_path: Path, status: int, answer: bytes, message: str
) -> None:
    """Whatever it says."""
    create(tmp_path / "keys.json", granted.transit())
    with liar(status, answer) as transit, pytest.raises(CustodyError, match=message):
        FileKeyring(tmp_path / "keys.json", transit)


def test_token_does_not_travel_when_the_server_redirects() -> None:
    """Not even to the same machine."""
    with liar(200, plaintext(bytes(32))) as elsewhere:
        location = f"{elsewhere._address.geturl()}/v1/transit/decrypt/data-team"
        with liar(307, b"", location) as transit, pytest.raises(CustodyError, match="it redirects"):
            transit.unwrap("vault:v1:x", CONTEXT)


def test_wait_ends_when_the_server_says_nothing() -> None:
    """It accepts the connection, and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transit = at(silent.getsockname()[1], timeout_seconds=0.2)
        with pytest.raises(CustodyUnavailableError, match=r"no answer within 0\.2 s"):
            transit.unwrap("vault:v1:x", CONTEXT)


@pytest.mark.parametrize(
    ("address", "key", "message"),
    [
        ("http://bao.example:8200", "transit/x", "in clear: use https"),
        ("https://user:pw@bao.example", "transit/x", "without user"),
        ("https://bao.example/v1", "transit/x", "without a path"),
        ("bao.example:8200", "transit/x", "https://host:port"),
        ("https://bao.example:port", "transit/x", "https://host:port"),
        ("https://bao.example", "x", "mount/name"),
        ("https://bao.example", "transit/../sys", "mount/name"),
        ("https://bao.example", "transit/x?y", "mount/name"),
    ],
)
def test_settings_are_refused_when_they_are_not_safe(address: str, key: str, message: str) -> None:
    """A token in clear on a network, a path that leads elsewhere."""
    with pytest.raises(KeyringError, match=message):
        OpenBaoTransit(address=address, key=key, token=str)


def test_nothing_secret_is_shown_when_anything_fails(granted: Granted, tmp_path: Path) -> None:
    """Tools that print the variables of every frame see neither token nor data key, on any way to fail."""
    keyring = create(tmp_path / "keys.json", granted.transit())
    key = DataKey(b"k7" * 16)
    secrets = [granted.token, "k7k7", base64.b64encode(key.secret).decode()[:20], key.secret.hex()[:20]]
    with liar(200, plaintext(key.secret)[:-4]) as garbled, liar(500, plaintext(key.secret)) as failing:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            quiet = OpenBaoTransit(
                address=f"http://127.0.0.1:{port}",
                key="transit/x",
                token=lambda: granted.token,
                timeout_seconds=0.1,
            )
            gone = at(port)
            providers = [garbled, failing, quiet, granted.transit(name="other")]
            shown = [shown_by_failure(provider, key) for provider in providers]
        shown += [
            shown_by_failure(gone, key),
            repr(granted.transit()),
            repr(keyring),
            repr(keyring.protection),
        ]
    for secret in secrets:
        assert secret not in "".join(shown)
    assert sum("CustodyError" in text or "CustodyUnavailableError" in text for text in shown) == 5


def shown_by_failure(provider: OpenBaoTransit, key: DataKey) -> str:
    """Return the tracebacks of a failure to wrap and one to unwrap, with the variables of every frame."""
    shown: list[str] = []
    for attempt in (lambda: provider.wrap(key, CONTEXT), lambda: provider.unwrap("vault:v1:x", CONTEXT)):
        with pytest.raises(CustodyError) as caught:
            attempt()
        assert caught.value.__context__ is None
        whole = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        shown += whole.format()
    return "".join(shown)


def test_command_line_makes_moves_and_renews_when_asked(granted: Granted, tmp_path: Path) -> None:
    """From a passphrase into custody, wrapped again, and a client of a profile opens it."""
    (tmp_path / "token").write_text(f"{granted.token}\n")
    (tmp_path / "token").chmod(0o600)
    environment = {
        "ISTHMUS_CONFIG": "",
        "ISTHMUS_NAMESPACE": "data-team",
        "ISTHMUS_KEYRING": str(tmp_path / "keys.json"),
        "ISTHMUS_OPENBAO_ADDRESS": granted.server.address,
        "ISTHMUS_OPENBAO_CA_FILE": str(granted.server.ca_file),
        "ISTHMUS_OPENBAO_TOKEN_FILE": str(tmp_path / "token"),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    custody = ["--custody", "openbao", "--custody-key", f"transit/{granted.name}"]

    def run(*words: str, passphrase: str = "") -> dict[str, str]:
        set_up = environment | ({"ISTHMUS_PASSPHRASE": passphrase} if passphrase else {})
        result = CliRunner().invoke(app, ["--output", "json", "keys", *words], env=set_up)
        assert result.exit_code == 0, result.output
        assert granted.token not in result.output
        found: dict[str, str] = json.loads(result.stdout)
        return found

    made = run("init", "--trust-domain", "acme", passphrase="pw")
    assert made["custody"] == "file"
    assert run("protect", *custody, passphrase="pw")["custody_key"] == f"transit/{granted.name}"
    assert run("show")["fingerprint"] == made["fingerprint"]
    wrapped = json.loads((tmp_path / "keys.json").read_text())["protection"]["wrapped"]
    run("protect")
    assert json.loads((tmp_path / "keys.json").read_text())["protection"]["wrapped"] != wrapped
    profile = Profile(
        keyring=tmp_path / "keys.json",
        trust_store=tmp_path / "trust.json",
        openbao_address=granted.server.address,
        openbao_ca_file=granted.server.ca_file,
    )
    parts = assemble(profile=profile, environment={"ISTHMUS_OPENBAO_TOKEN": granted.token})
    assert parts.keyring.namespace == "data-team"
    assert granted.token not in repr(parts) + repr(profile)
    (tmp_path / "new").write_text("another\n")
    (tmp_path / "new").chmod(0o600)
    run("protect", "--custody", "file", "--new-passphrase-file", str(tmp_path / "new"))
    assert run("show", passphrase="another")["custody"] == "file"
    for path in tmp_path.glob("keys.json*"):
        path.unlink()
    assert run("init", "--trust-domain", "acme", *custody, passphrase="pw")["custody"] == "openbao"
