"""What the parts of a unit of work have in common: the buffer."""

from isthmus.gateway.store.group import Buffer


class BufferedPart:
    """A part of a unit of work."""

    __slots__ = ("_buffer",)

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
