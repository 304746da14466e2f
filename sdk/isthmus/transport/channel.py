"""Channels to the gateway: TLS, or plaintext that never leaves this machine unless somebody insists."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from isthmus.transport.errors import ConfigurationError
from isthmus.wire import limits

DEFAULT_PORT: Final = 7243
_FRAME_OVERHEAD_BYTES: Final = 64 * 1024
# The end of the first line of each, whether plain, TRUSTED or X509.
_CERTIFICATE: Final = b"CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Where the gateway is and how the way there is protected."""

    address: str
    """``host:port``, ``[ipv6]:port`` or ``unix:/path``; ``https://`` or ``http://`` decides on TLS."""
    ca_file: Path | None = None
    """Certificates (PEM) that vouch for the gateway, instead of the system's."""
    certificate_file: Path | None = None
    """This client's certificate chain (PEM), for mTLS."""
    private_key_file: Path | None = None
    """The private key (PEM) of certificate_file."""
    server_name: str | None = None
    """Name to expect in the gateway's certificate, when it is not the host."""
    allow_insecure: bool = False
    """Permit plaintext to another machine. Envelopes stay sealed; tokens can be read on the way."""
    keepalive_seconds: float = 30.0
    """A connection with calls on it that was silent for so long is asked whether it lives; at least 5."""
    keepalive_timeout_seconds: float = 10.0
    """One that does not answer within this is given up, and another one is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An address taken apart."""

    target: str
    host: str
    tls: bool
    loopback: bool


def resolve_target(settings: ChannelSettings) -> Target:
    """Decide where to connect and whether with TLS.

    TLS is the default except to a loopback address without certificates; plaintext elsewhere needs
    allow_insecure.

    Raises:
        ConfigurationError: the address is malformed, or the way would be unprotected.
    """
    scheme, separator, rest = settings.address.strip().rpartition("://")
    if (separator and scheme not in {"http", "https"}) or not rest:
        raise ConfigurationError(f"{settings.address!r} is no address; write host:port")
    unix = rest.startswith("unix:")
    host = "" if unix else _host(rest)
    target = rest if unix else _with_port(rest.rstrip("/"), host)
    loopback = unix or _is_loopback(host)
    certificates = settings.ca_file or settings.certificate_file
    if scheme == "http" and certificates:
        raise ConfigurationError(
            "http:// contradicts the TLS settings; write https://, or drop the certificates"
        )
    plaintext_wanted = scheme == "http" or (
        not scheme and not certificates and (loopback or settings.allow_insecure)
    )
    if plaintext_wanted and not loopback and not settings.allow_insecure:
        raise ConfigurationError(
            f"refusing plaintext to {host}: use https:// (TLS), or set allow_insecure on a trusted network"
        )
    return Target(target=target, host=host, tls=not plaintext_wanted, loopback=loopback)


def open_channel(settings: ChannelSettings) -> grpc.Channel:
    """Open a channel for the sync stack; it connects on first use. Raises ConfigurationError."""
    target = resolve_target(settings)
    options = _options(settings, target)
    if target.tls:
        return grpc.secure_channel(target.target, _tls(settings), options=options)
    return grpc.insecure_channel(target.target, options=options)


def open_async_channel(settings: ChannelSettings) -> grpc.aio.Channel:
    """Open a channel for the running event loop; it connects on first use. Raises ConfigurationError."""
    target = resolve_target(settings)
    options = _options(settings, target)
    if target.tls:
        return grpc.aio.secure_channel(target.target, _tls(settings), options=options)
    return grpc.aio.insecure_channel(target.target, options=options)


def _options(settings: ChannelSettings, target: Target) -> Sequence[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", limits.MAX_FRAME_BYTES + _FRAME_OVERHEAD_BYTES),
        ("grpc.max_receive_message_length", limits.MAX_FRAME_BYTES + _FRAME_OVERHEAD_BYTES),
        ("grpc.keepalive_time_ms", round(settings.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout_seconds * 1000)),
        # Newer cores wait for this one as well, by default a minute.
        ("grpc.http2.ping_timeout_ms", round(settings.keepalive_timeout_seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # We repeat calls ourselves, with the same bytes and within the caller's deadline.
        ("grpc.enable_retries", 0),
        # gRPC otherwise shares connections between channels; one from before a fork must not be found.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.primary_user_agent", "isthmus-python"),
    ]
    if target.loopback:
        options.append(("grpc.enable_http_proxy", 0))
    if settings.server_name:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return options


def _tls(settings: ChannelSettings) -> grpc.ChannelCredentials:
    if (settings.certificate_file is None) != (settings.private_key_file is None):
        raise ConfigurationError("mTLS needs both the certificate file and the private key file")
    authorities = _read(settings.ca_file)
    if authorities is not None and _CERTIFICATE not in authorities:
        raise ConfigurationError(f"{settings.ca_file}, the ca_file, holds no certificate in PEM")
    return grpc.ssl_channel_credentials(
        root_certificates=authorities,
        private_key=_read(settings.private_key_file),
        certificate_chain=_read(settings.certificate_file),
    )


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _host(rest: str) -> str:
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest.rstrip("/").rpartition(":")[0] if ":" in rest else rest.rstrip("/")


def _with_port(rest: str, host: str) -> str:
    bare = f"[{host}]" if rest.startswith("[") else host
    if rest == bare:
        return f"{bare}:{DEFAULT_PORT}"
    port = rest.removeprefix(f"{bare}:")
    if not host or not port.isascii() or not port.isdigit():
        raise ConfigurationError(f"{rest!r} is no address; write host:port")
    return rest


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
