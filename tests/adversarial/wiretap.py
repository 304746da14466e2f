"""A plain TCP proxy that writes down every byte that passes, both ways."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Wiretap:
    """What was heard, and where to speak: each connection is recorded by itself, each direction too."""

    address: str = ""
    heard: list[bytearray] = field(default_factory=list)

    def all_bytes(self) -> bytes:
        """Return everything, one direction of one connection after the other."""
        return b"\0\0\0".join(self.heard)


@asynccontextmanager
async def wiretap(host: str, port: int) -> AsyncGenerator[Wiretap]:
    """Listen in front of a server."""
    tap = Wiretap()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        heard = bytearray()
        tap.heard.append(heard)
        with suppress(OSError):
            while data := await source.read(65536):
                heard += data
                target.write(data)
                await target.drain()
        target.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    tap.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield tap
    finally:
        server.close()
