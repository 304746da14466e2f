"""Hears what other gateways committed: one connection that listens, on a thread of its own.

A notification can get lost with a connection, so whoever relies on them looks by itself as well: pumps every
few seconds, and after each reconnect this tells the store that there was a gap.
"""

import logging
import selectors
import socket
import threading
from collections.abc import Callable

import psycopg

from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.store.postgresql_connection import PostgresqlConnection
from isthmus.gateway.store.postgresql_signals import CHANNEL

_logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.5
RECONNECT_SECONDS = 1.0


class Listener:
    """Calls back on its thread: ``heard`` with each notification, ``missed`` after every connection made.

    Args:
        connect: opens a connection.
        heard: takes the payload of a notification.
        missed: is called when notifications may have been lost.
    """

    def __init__(
        self,
        connect: Callable[[], PostgresqlConnection],
        heard: Callable[[list[str]], None],
        missed: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._heard = heard
        self._missed = missed
        self._stopping = threading.Event()
        self._waking, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="isthmus-store-listener", daemon=True)
        self._connection: PostgresqlConnection | None = None

    def start(self) -> None:
        """Connect and listen, then start the thread: what is committed from now on is heard.

        Raises:
            psycopg.Error: the database cannot be reached.
        """
        self._connection = self._listen()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it runs. Blocks, until what was heard is told."""
        self._stopping.set()
        self._waking.close()
        if self._thread.is_alive():
            self._thread.join()
        self._woken.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._connection is None:
                    self._connection = self._listen()
                    self._missed()
                payloads = [each.payload for each in self._connection.raw.notifies(timeout=0)]
                if payloads:
                    self._heard(payloads)
                else:
                    self._await_more(self._connection)
            except (psycopg.Error, ConfigurationError) as error:
                _logger.warning("notifications of other gateways are not heard: %s", type(error).__name__)
                self._disconnect()
                self._stopping.wait(RECONNECT_SECONDS)
        self._disconnect()

    def _await_more(self, connection: PostgresqlConnection) -> None:
        with selectors.DefaultSelector() as selector:
            for source in (connection.raw, self._woken):
                selector.register(source, selectors.EVENT_READ)
            selector.select(LOOK_SECONDS)

    def _listen(self) -> PostgresqlConnection:
        connection = self._connect()
        connection.raw.execute(f"LISTEN {CHANNEL}", prepare=False)
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
