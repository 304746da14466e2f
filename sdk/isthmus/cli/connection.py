"""Plain calls to the gateway, for commands that seal nothing and need no keyring."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import typer

from isthmus.cli.invocation import invocation
from isthmus.client.assembly import channel_settings, token_source
from isthmus.transport.connection import SyncConnection
from isthmus.transport.credentials import TokenSource, call_metadata
from isthmus.transport.status import error_from_rpc

CALL_SECONDS = 15.0
Stub = Callable[[grpc.Channel], Any]


class GatewayConnection:
    """Calls methods of the gateway's services by name."""

    def __init__(self, connection: SyncConnection, credentials: TokenSource | None) -> None:
        self._connection = connection
        self._credentials = credentials

    @property
    def address(self) -> str:
        """Where the gateway is."""
        return self._connection.settings.address

    def call(self, stub: Stub, method: str, request: object) -> Any:  # noqa: ANN401 - the method's response
        """Make one unary call. Raises GatewayError."""
        return self._connection.call(
            lambda channel: getattr(stub(channel), method), request, timeout_seconds=CALL_SECONDS
        )

    def stream(self, stub: Stub, method: str, request: object) -> Iterator[Any]:
        """Follow a stream of responses until the gateway ends it. Raises GatewayError."""
        bound = getattr(stub(self._connection.channel), method)
        try:
            yield from bound(request, metadata=call_metadata(self._credentials))
        except grpc.RpcError as error:
            # Every RpcError that a call raises is a Call too.
            raise error_from_rpc(error, address=self.address) from None  # type: ignore[arg-type]


@contextmanager
def open_connection(ctx: typer.Context) -> Generator[GatewayConnection]:
    """Connect as the chosen profile says. Raises ConfigurationError."""
    chosen = invocation(ctx)
    profile = chosen.load_profile()
    credentials = token_source(profile, chosen.environment)
    connection = SyncConnection(channel_settings(profile), credentials)
    try:
        yield GatewayConnection(connection, credentials)
    finally:
        connection.close()
