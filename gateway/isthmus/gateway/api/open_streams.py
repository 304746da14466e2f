"""The streams that are open, so that a gateway that stops can ask its clients to go elsewhere."""

from typing import Protocol


class DrainableStream(Protocol):
    """A stream that can tell its client that it ends soon."""

    def drain(self) -> None:
        """Ask the client to go on elsewhere."""
        ...


class OpenStreams:
    """Every session and worker stream of this process."""

    def __init__(self) -> None:
        self._streams: set[DrainableStream] = set()
        self._draining = False

    def __len__(self) -> int:
        """How many are open."""
        return len(self._streams)

    def add(self, stream: DrainableStream) -> None:
        """Add a stream; one that comes while the gateway stops is asked to leave at once."""
        self._streams.add(stream)
        if self._draining:
            stream.drain()

    def discard(self, stream: DrainableStream) -> None:
        """Remove a stream that has ended."""
        self._streams.discard(stream)

    def drain(self) -> None:
        """Ask every client to go on elsewhere, now and from now on."""
        self._draining = True
        for stream in tuple(self._streams):
            stream.drain()
