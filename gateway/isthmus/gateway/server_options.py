"""Settings of gRPC's own server."""

import grpc

from isthmus.gateway.config.settings import LimitSettings, ListenSettings
from isthmus.gateway.core.errors import ConfigurationError
from isthmus.wire import limits as wire_limits

# A token of 8 KB, what it travels with, and room: gRPC's default would refuse such a token now and then.
_METADATA_BYTES = 16 * 1024
_MAX_METADATA_BYTES = 32 * 1024


def server_options(limits: LimitSettings) -> list[tuple[str, int]]:
    """Return gRPC's channel arguments for a gateway."""
    return [
        ("grpc.max_receive_message_length", limits.max_frame_bytes),
        ("grpc.max_send_message_length", wire_limits.MAX_FRAME_BYTES),
        ("grpc.max_concurrent_streams", limits.max_streams_per_connection),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES),
        # Clients keep idle connections alive through proxies; peers that vanished are noticed.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Newer cores wait for this one as well, by default a minute.
        ("grpc.http2.ping_timeout_ms", 10_000),
        # Otherwise a second gateway on the same port would silently take half of the connections.
        ("grpc.so_reuseport", 0),
    ]


def server_credentials(listen: ListenSettings) -> grpc.ServerCredentials | None:
    """Return TLS credentials; None when none are configured, which the checks allow on loopback only.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    if listen.tls_certificate_file is None or listen.tls_key_file is None:
        return None
    try:
        pair = (listen.tls_key_file.read_bytes(), listen.tls_certificate_file.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename} cannot be read: {error.strerror}",
            reason="TLS_FILES",
            fix="Check the path, and that the user that runs the gateway may read it.",
        ) from None
    return grpc.ssl_server_credentials([pair])
