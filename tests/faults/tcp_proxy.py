"""A TCP proxy that behaves as badly as a network can: it cuts, goes silent, and crawls.

It runs an event loop in a thread of its own, so that a test may use it from anywhere.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

_CHUNK_BYTES = 64 * 1024
_CALL_SECONDS = 10.0
_CRAWL_SECONDS = 0.02
# Linger on, for no time: closing sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


class _Link:
    """One connection through the proxy. A silent one keeps both ends open and moves nothing."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, target: str) -> None:
        self._ends = (near, far)
        self.target = target
        self.flowing = asyncio.Event()
        self.flowing.set()

    def reset(self) -> None:
        """End it at both ends without a good-bye."""
        for writer in self._ends:
            taken = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class FaultProxy:
    """Forwards connections to a target that may change; ``address`` stays the same.

    What it is told holds once the call has returned.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._links: set[_Link] = set()
        self._jobs: set[asyncio.Task[None]] = set()
        self._chunk_bytes = _CHUNK_BYTES
        self._server: asyncio.Server | None = None
        self.address = ""

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut everything and stop."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many connections go through it, the silent ones included."""
        return self._do(self._count())

    def connections_to(self, target: str) -> int:
        """How many of them lead to an address."""
        return self._do(self._count(target))

    def point_to(self, target: str) -> None:
        """Connect to another address from now on; connections that are open stay where they are."""
        self._do(self._set(target=target))

    def cut(self) -> int:
        """Reset every connection; return how many there were."""
        return self._do(self._cut())

    def silence(self) -> int:
        """Move nothing any more on the connections that are open, and say so to nobody; new ones work."""
        return self._do(self._silence())

    def crawl(self, bytes_per_second: int) -> None:
        """Move so many bytes in a second on each connection and direction; 0: as fast as possible."""
        chunk = max(1, round(bytes_per_second * _CRAWL_SECONDS)) if bytes_per_second else _CHUNK_BYTES
        self._do(self._set(chunk_bytes=chunk))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(_CALL_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def _count(self, target: str = "") -> int:
        return sum(not target or link.target == target for link in self._links)

    async def _set(self, *, target: str = "", chunk_bytes: int = 0) -> None:
        self._target = target or self._target
        self._chunk_bytes = chunk_bytes or self._chunk_bytes

    async def _cut(self) -> int:
        links = tuple(self._links)
        for link in links:
            link.reset()
        return len(links)

    async def _silence(self) -> int:
        for link in self._links:
            link.flowing.clear()
        return len(self._links)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()
        for job in tuple(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self._target
        host, _, port = target.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, far_writer, target)
        self._links.add(link)
        ways = [
            asyncio.create_task(self._forward(link, reader, far_writer)),
            asyncio.create_task(self._forward(link, far_reader, writer)),
        ]
        self._jobs.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            link.reset()
            self._links.discard(link)
            self._jobs.difference_update(ways)

    async def _forward(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while True:
                await link.flowing.wait()
                chunk = await source.read(self._chunk_bytes)
                # What was under way when it fell silent is lost, too.
                await link.flowing.wait()
                if not chunk:
                    return
                sink.write(chunk)
                await sink.drain()
                if self._chunk_bytes < _CHUNK_BYTES:
                    await asyncio.sleep(_CRAWL_SECONDS)
        except OSError:
            return
