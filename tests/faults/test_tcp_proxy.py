"""The fault proxy does to connections what it says."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.acceptance.deployment.deadline import await_that
from tests.faults.tcp_proxy import FaultProxy


class Echo:
    """A server that says its name, then sends back what it gets."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        # Wakes the thread that accepts, which would take one more connection otherwise.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(taken,), daemon=True).start()

    def _echo(self, taken: socket.socket) -> None:
        with taken:
            try:
                taken.sendall(self._name)
                while data := taken.recv(65_536):
                    taken.sendall(data)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server behind the proxy."""
    server = Echo(b"1")
    yield server
    with contextlib.suppress(OSError):
        server.close()


def connect(proxy: FaultProxy) -> socket.socket:
    """Connect through the proxy."""
    host, _, port = proxy.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_proxy_forwards_both_ways_when_it_is_told_nothing(echo: Echo) -> None:
    """Every byte, in order, and the end of the connection."""
    sent = bytes(range(256)) * 400
    with FaultProxy(echo.address) as proxy, connect(proxy) as near:
        assert near.recv(1) == b"1"
        near.sendall(sent)
        got = b""
        while len(got) < len(sent):
            got += near.recv(65_536)
        assert got == sent
        near.close()
        await_that(lambda: proxy.connections == 0, "the connection is gone", seconds=10)


def test_proxy_resets_connections_when_it_cuts(echo: Echo) -> None:
    """The end hears of it at once, and a new connection works."""
    with FaultProxy(echo.address) as proxy, connect(proxy) as near:
        assert near.recv(1) == b"1"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            near.recv(1)
        with connect(proxy) as again:
            assert again.recv(1) == b"1"


def test_proxy_keeps_connections_open_when_it_is_silent(echo: Echo) -> None:
    """Half-open: what is sent is taken, nothing comes back, nobody is told; a new connection works."""
    with FaultProxy(echo.address) as proxy, connect(proxy) as near:
        assert near.recv(1) == b"1"
        assert proxy.silence() == 1
        near.sendall(b"hello?")
        with connect(proxy) as again:
            assert again.recv(1) == b"1"
        near.settimeout(0)
        with pytest.raises(BlockingIOError):
            near.recv(1)


def test_proxy_connects_elsewhere_when_it_is_pointed_there(echo: Echo) -> None:
    """Its own address stays, and connections that are open stay where they are."""
    other = Echo(b"2")
    with FaultProxy(echo.address) as proxy, connect(proxy) as near:
        assert near.recv(1) == b"1"
        proxy.point_to(other.address)
        with connect(proxy) as another:
            assert another.recv(1) == b"2"
            assert [proxy.connections_to(each.address) for each in (echo, other)] == [1, 1]
            near.sendall(b"still there")
            assert near.recv(65_536) == b"still there"
    other.close()


def test_proxy_delivers_everything_when_it_crawls(echo: Echo) -> None:
    """Slowly, a few bytes at a time."""
    with FaultProxy(echo.address) as proxy, connect(proxy) as near:
        proxy.crawl(bytes_per_second=5000)
        near.sendall(b"x" * 300)
        assert near.recv(1) == b"1"
        sizes: list[int] = []
        while sum(sizes) < 300:
            sizes.append(len(near.recv(65_536)))
        assert len(sizes) > 1
        proxy.crawl(bytes_per_second=0)
        near.sendall(b"y" * 100_000)
        left = 100_000
        while left:
            left -= len(near.recv(65_536))


def test_proxy_refuses_when_nobody_listens_behind_it(echo: Echo) -> None:
    """As a port does that nobody listens on."""
    echo.close()
    with FaultProxy(echo.address) as proxy, connect(proxy) as near:
        assert near.recv(1) == b""
