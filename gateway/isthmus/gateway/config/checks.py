"""What makes a configuration unsafe or senseless. Each check says what would fix it."""

from collections.abc import Iterator
from pathlib import Path

from isthmus.gateway.config.issuer_checks import issuer_problems
from isthmus.gateway.config.listen_address import ListenAddress, parse_listen_address
from isthmus.gateway.config.problem import Problem
from isthmus.gateway.config.settings import DEVELOPMENT, GatewayConfig
from isthmus.gateway.key_file import is_private
from isthmus.wire import limits
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import check_trust_domain

_LEASE_SECONDS = range(5, 601)
_DRAIN_SECONDS = range(3601)
_LEVELS = frozenset({"debug", "info", "warning", "error"})
_FORMATS = frozenset({"auto", "json", "text"})
# A frame has room for the largest envelope and for what says where it belongs.
_FRAME_BYTES = range(limits.MAX_ENVELOPE_BYTES + 64 * 1024, limits.MAX_FRAME_BYTES + 1)


def config_problems(config: GatewayConfig) -> list[Problem]:
    """Return everything for which a gateway with this configuration refuses to start."""
    return [
        *_basic_problems(config),
        *_listen_problems(config),
        *_metrics_problems(config),
        *_limit_problems(config),
        *issuer_problems(config.issuers),
        *_store_problems(config),
        *_data_dir_problems(config.data_dir),
    ]


def _basic_problems(config: GatewayConfig) -> Iterator[Problem]:
    try:
        check_trust_domain(config.trust_domain)
    except WireFormatError as error:
        yield Problem(
            option="trust_domain",
            message=str(error),
            fix="A DNS name of your organization, such as calls.example.com.",
        )
    if config.lease_seconds not in _LEASE_SECONDS:
        yield Problem(
            option="lease_seconds",
            message="a lease is 5 to 600 seconds",
            fix="A shorter one is lost to every pause of a worker, and its tasks run twice.",
        )
    if config.drain_seconds not in _DRAIN_SECONDS:
        yield Problem(option="drain_seconds", message="draining takes 0 to 3600 seconds", fix="Mostly 30.")
    if config.log.level not in _LEVELS:
        yield Problem(option="log.level", message="there is no such level", fix=_one_of(_LEVELS))
    if config.log.format not in _FORMATS:
        yield Problem(option="log.format", message="there is no such format", fix=_one_of(_FORMATS))


def _store_problems(config: GatewayConfig) -> Iterator[Problem]:
    store = config.store
    if store.dsn and store.dsn_file is not None:
        yield Problem(option="store.dsn", message="store.dsn_file is set as well", fix="Keep one of them.")
    if store.is_postgresql and config.database is not None:
        yield Problem(
            option="database",
            message="the store is PostgreSQL, which has no file",
            fix="Remove database, or what is under store.",
        )
    if store.dsn_file is not None:
        if not store.dsn_file.is_file():
            yield Problem(
                option="store.dsn_file",
                message=f"there is no file {store.dsn_file}",
                fix="A file with a connection string of PostgreSQL.",
            )
        elif not is_private(store.dsn_file):
            yield Problem(
                option="store.dsn_file",
                message=f"{store.dsn_file} is open to other users",
                fix=f"Run: chmod 600 {store.dsn_file}",
            )


def _listen_problems(config: GatewayConfig) -> Iterator[Problem]:
    listen = config.listen
    try:
        address = parse_listen_address(listen.address)
    except ValueError:
        yield Problem(option="listen.address", message="it is host:port", fix="For example 127.0.0.1:7243.")
    else:
        yield from _exposure_problems(config, address)
    if (listen.tls_certificate_file is None) != (listen.tls_key_file is None):
        yield Problem(
            option="listen",
            message="TLS needs both tls_certificate_file and tls_key_file",
            fix="Set both of them, or neither.",
        )
    for option, path in (
        ("listen.tls_certificate_file", listen.tls_certificate_file),
        ("listen.tls_key_file", listen.tls_key_file),
    ):
        if path is not None and not path.is_file():
            yield Problem(option=option, message=f"{path} is no file", fix="Paths start beside this file.")
    key = listen.tls_key_file
    if key is not None and key.is_file() and not is_private(key):
        yield Problem(
            option="listen.tls_key_file",
            message=f"{key} is open to others than its owner",
            fix=f"Run: chmod 600 {key}. If others could read it, replace the key.",
        )


def _exposure_problems(config: GatewayConfig, address: ListenAddress) -> Iterator[Problem]:
    if address.is_loopback:
        return
    if config.listen.tls_key_file is None:
        yield Problem(
            option="listen.address",
            message=f"{address.host} is reachable from other machines, and tokens would travel in the clear",
            fix="Set listen.tls_certificate_file and listen.tls_key_file, or listen on 127.0.0.1.",
        )
    if any(issuer.kind == DEVELOPMENT for issuer in config.issuers):
        yield Problem(
            option="issuers",
            message="the development issuer is for loopback only",
            fix="Listen on 127.0.0.1, or configure a real issuer.",
        )


def _metrics_problems(config: GatewayConfig) -> Iterator[Problem]:
    try:
        address = parse_listen_address(config.metrics.address)
    except ValueError:
        yield Problem(option="metrics.address", message="it is host:port", fix="For example 127.0.0.1:7244.")
    else:
        if config.metrics.enabled and address.port and config.metrics.address == config.listen.address:
            yield Problem(
                option="metrics.address",
                message="it is the address of the gateway itself",
                fix="Choose another port.",
            )


def _limit_problems(config: GatewayConfig) -> Iterator[Problem]:
    limits_ = config.limits
    if limits_.max_frame_bytes not in _FRAME_BYTES:
        yield Problem(
            option="limits.max_frame_bytes",
            message=f"a frame is {_FRAME_BYTES[0]} to {_FRAME_BYTES[-1]} bytes",
            fix="Leave it out: the largest one is the default.",
        )
    for name in ("max_waiters", "max_in_flight", "max_streams_per_connection"):
        if getattr(limits_, name) < 1:
            yield Problem(
                option=f"limits.{name}", message="it is at least 1", fix="Leave it out for the default."
            )


def _one_of(names: frozenset[str]) -> str:
    return f"It is one of {', '.join(sorted(names))}."


def _data_dir_problems(data_dir: Path) -> Iterator[Problem]:
    if not data_dir.exists():
        return  # it is made at the first start, for its owner only
    if not data_dir.is_dir():
        yield Problem(
            option="data_dir", message=f"{data_dir} is no directory", fix="Name a folder, or a new one."
        )
    elif data_dir.stat().st_mode & 0o022:
        yield Problem(
            option="data_dir",
            message=f"others may write into {data_dir}, and replace its keys",
            fix=f"Run: chmod 700 {data_dir}",
        )
