"""Custody of OpenBao or HashiCorp Vault: the transit engine wraps the data key. There is nothing to install.

Two calls of the HTTP API, ``encrypt`` and ``decrypt``, with the context as ``associated_data``. Certificates
are verified; no redirect is followed, because the token would go along; no proxy of the environment is used.
"""

import base64
import binascii
import http.client
import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from isthmus.keys.custody.provider import DataKey, KeyContext
from isthmus.keys.errors import CustodyError, CustodyUnavailableError, KeyringError

NAME: Final = "openbao"
TIMEOUT_SECONDS: Final = 10.0
_MAX_ANSWER_BYTES: Final = 64 * 1024
_MAX_SAID_CHARS: Final = 200
_KEY: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+", re.ASCII)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What came back, or why nothing did."""

    status: int = 0
    body: bytes = field(default=b"", repr=False)
    problem: str = ""


class OpenBaoTransit:
    """A key of the transit engine. A ``KeyEncryptionProvider``; has no connection between calls."""

    __slots__ = ("_address", "_key", "_mount", "_namespace", "_timeout_seconds", "_tls", "_token")

    def __init__(
        self,
        *,
        address: str,
        key: str,
        token: Callable[[], str],
        namespace: str | None = None,
        ca_file: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """Take where the server is and which key is meant; asks nothing yet.

        Args:
            address: ``https://host:port``; ``http://`` on loopback only.
            key: the engine's mount and the key's name, as in ``transit/data-team``.
            token: returns the token to use now; it may be renewed in between.
            namespace: of the server, where it has any.
            ca_file: PEM certificates to trust instead of the system's.
            timeout_seconds: longest silence of the server.

        Raises:
            KeyringError: one of them is not valid.

        """
        if not _KEY.fullmatch(key):
            raise KeyringError(f"a key of {NAME} is mount/name, for example transit/data-team, not {key!r}")
        parts = _split(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise KeyringError("the address of OpenBao is https://host:port, without a path")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise KeyringError(f"the token would go to {parts.hostname} in clear: use https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise KeyringError("the address of OpenBao is https://host:port, without user, query or fragment")
        self._address = parts
        self._mount, _, self._key = key.rpartition("/")
        self._token = token
        self._namespace = namespace
        self._timeout_seconds = timeout_seconds
        self._tls = None if parts.scheme == "http" else _tls(ca_file)

    @property
    def name(self) -> str:
        """Of the provider, for Vault too: its interface is the same."""
        return NAME

    @property
    def key(self) -> str:
        """Mount and name."""
        return f"{self._mount}/{self._key}"

    def wrap(self, data_key: DataKey, context: KeyContext) -> str:
        """Return the data key encrypted under the newest version of the key.

        Raises:
            CustodyError: the server refuses. CustodyUnavailableError: it cannot be asked now.

        """
        return self._found(self._exchange("encrypt", data_key, context), "ciphertext")

    def unwrap(self, wrapped: str, context: KeyContext) -> DataKey:
        """Return the data key.

        Raises:
            CustodyError: the server refuses, or answers with something else than a key.
            CustodyUnavailableError: it cannot be asked now.

        """
        answer = self._exchange("decrypt", wrapped, context)
        data_key = _data_key(answer)
        if data_key is None:
            # Says why, if the server does; an answer that has a plaintext is not shown.
            self._found(answer, "plaintext", shown=False)
            raise CustodyError(f"{self._where} answers with something that is no key of a keyring")
        return data_key

    @property
    def _where(self) -> str:
        return f"OpenBao at {self._address.netloc}"

    def _exchange(self, action: str, content: DataKey | str, context: KeyContext) -> _Answer:
        """Ask; raises nothing but what the token's source does: secrets are in its variables."""
        connection = self._connection()
        try:
            connection.request(
                "POST",
                f"/v1/{self._mount}/{action}/{self._key}",
                body=_request(content, context),
                headers=self._headers(),
            )
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER_BYTES + 1)
        except TimeoutError:
            return _Answer(problem=f"no answer within {self._timeout_seconds:g} s")
        except ssl.SSLCertVerificationError as error:
            return _Answer(problem=f"its certificate does not verify: {error.verify_message}")
        except OSError as error:
            return _Answer(problem=error.strerror or type(error).__name__)
        except http.client.HTTPException as error:
            return _Answer(problem=f"it does not speak HTTP: {type(error).__name__}")
        finally:
            connection.close()
        if len(body) > _MAX_ANSWER_BYTES:
            return _Answer(problem="it answers with too much")
        return _Answer(status=response.status, body=body)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = str(self._address.hostname), self._address.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_seconds)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout_seconds, context=self._tls)

    def _headers(self) -> dict[str, str]:
        headers = {} if self._namespace is None else {"X-Vault-Namespace": self._namespace}
        headers |= {"Content-Type": "application/json", "X-Vault-Request": "true"}
        return headers | {"X-Vault-Token": self._token()}

    def _found(self, answer: _Answer, name: str, *, shown: bool = True) -> str:
        if answer.problem:
            raise CustodyUnavailableError(f"{self._where} cannot be asked: {answer.problem}")
        status, said = answer.status, _said(answer.body)
        if status == HTTPStatus.OK:
            value = _field(answer.body, name)
            if value is None or not value.isascii() or not value.isprintable():
                raise CustodyError(f"{self._where} answers with something else than a {name}")
            return value if shown else ""
        advice = f"{self._where} does not {'wrap' if name == 'ciphertext' else 'unwrap'} with {self.key}"
        if status == HTTPStatus.FORBIDDEN:
            raise CustodyError(f"{advice}: its token is wrong or expired, or no policy of it permits this")
        if status == HTTPStatus.NOT_FOUND:
            raise CustodyError(f"{advice}: there is no transit engine at {self._mount}")
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise CustodyUnavailableError(f"{advice} now: {said or status}")
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise CustodyError(
                f"{advice}: it redirects, and the token is not sent elsewhere: set its active node's address"
            )
        raise CustodyError(f"{advice}: {said or status}")


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise KeyringError("the address of OpenBao is https://host:port") from None
    return parts


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise KeyringError(f"{ca_file} holds no certificates that can be read") from None


def _request(content: DataKey | str, context: KeyContext) -> bytes:
    fields = {"associated_data": _b64(context.bound)}
    if isinstance(content, DataKey):
        fields["plaintext"] = _b64(content.secret)
    else:
        fields["ciphertext"] = content
    return json.dumps(fields).encode()


def _data_key(answer: _Answer) -> DataKey | None:
    plaintext = _field(answer.body, "plaintext") if answer.status == HTTPStatus.OK else None
    try:
        return None if plaintext is None else DataKey(base64.b64decode(plaintext, validate=True))
    except (binascii.Error, ValueError):
        return None


def _field(body: bytes, name: str) -> str | None:
    try:
        value = json.loads(body)["data"][name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _said(body: bytes) -> str:
    """Return the server's own words, made harmless; only answers that are errors have any."""
    try:
        errors = json.loads(body)["errors"]
        said = "; ".join(str(error) for error in errors)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return "".join(char for char in said if char.isprintable())[:_MAX_SAID_CHARS]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
