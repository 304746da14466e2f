"""When a payload leaves its envelope, and how it comes back: what clients and workers use of this package.

Both methods that do the work block, for as long as the object store takes.
"""

import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Final, NamedTuple

from isthmus.blobs.errors import BlobTooLargeError, BlobUnavailableError
from isthmus.blobs.file import File
from isthmus.blobs.pointer import CONTENT_TYPE, parse_pointer
from isthmus.blobs.reader import read_to_bytes, read_to_file
from isthmus.blobs.sealing import Binding
from isthmus.blobs.settings import MAX_VALUE_BYTES, BlobSettings
from isthmus.blobs.writer import Destination, split, write_file, write_pieces
from isthmus.envelope.identity import fingerprint_of
from isthmus.payload.converter import BYTES
from isthmus.payload.errors import PayloadConversionError
from isthmus.payload.payload import Payload
from isthmus.transport.errors import ConfigurationError

HOW_TO_CONFIGURE: Final = (
    "to send more, set blob_store in the profile, or ISTHMUS_BLOB_STORE, to a place such as"
    " s3://bucket/folder/, and let the other team allow it"
)
_AFTER_THE_END: Final = timedelta(days=1)
Content = Payload | File
"""A serialized value, or a file that is not serialized at all."""


class Packed(NamedTuple):
    """What goes into the envelope, and the fingerprint of what it stands for."""

    payload: Payload
    fingerprint: bytes | None


def _now() -> datetime:
    return datetime.now(UTC)


class ClaimChecks:
    """Exchanges large payloads for claim checks and back, as one namespace."""

    def __init__(self, settings: BlobSettings | None = None, *, now: Callable[[], datetime] = _now) -> None:
        self.settings = settings or BlobSettings()
        self._now = now

    def must_pack(self, content: Content) -> bool:
        """Whether content goes through the store: files always, values above the threshold if there is one.

        Raises:
            PayloadConversionError: a value has the content type of claim checks.
        """
        if isinstance(content, File):
            return True
        if content.content_type == CONTENT_TYPE:
            raise PayloadConversionError(f"the content type {CONTENT_TYPE} is not for values")
        return self.settings.store is not None and len(content.data) > self.settings.threshold_bytes

    def pack(
        self,
        content: Content,
        *,
        binding: Binding,
        ends_by: datetime | None = None,
        id_key: bytes | None = None,
    ) -> Packed:
        """Seal content into the store and return its claim check.

        Args:
            content: what ``must_pack``.
            binding: the message that it belongs to.
            ends_by: when its operation is over at the latest; the blob is kept longer than that.
            id_key: makes the fingerprint; None makes none.

        Raises:
            ConfigurationError: there is no store, or it needs something that is not installed.
            BlobTooLargeError: a value of more than 64 MiB.
            BlobUnavailableError: the store does not take it now.
            OSError: the file cannot be opened.
        """
        root = self.settings.store
        if root is None:
            raise ConfigurationError(
                f"a File travels through an object store, and there is none; {HOW_TO_CONFIGURE}"
            )
        written = self._now()
        kept_until = written + timedelta(days=self.settings.retention_days)
        if ends_by is not None:
            kept_until = max(kept_until, ends_by + _AFTER_THE_END)
        destination = Destination(root=root, binding=binding, written=written, kept_until=kept_until)
        headers: tuple[tuple[str, str], ...] = ()
        if isinstance(content, File):
            pointer, fingerprint = write_file(content, id_key=id_key, destination=destination)
        else:
            if len(content.data) > MAX_VALUE_BYTES - MAX_VALUE_BYTES // 64:
                raise BlobTooLargeError(
                    f"a value of {len(content.data)} bytes is too large; send it as an isthmus.blobs.File"
                )
            headers = content.headers
            pointer = write_pieces(
                split(content.data), content_type=content.content_type, destination=destination
            )
            fingerprint = None if id_key is None else fingerprint_of(id_key, content)
        payload = Payload(content_type=CONTENT_TYPE, headers=headers, data=pointer.encode())
        return Packed(payload=payload, fingerprint=fingerprint)

    def must_unpack(self, payload: Payload, type_hint: object) -> bool:
        """Whether a payload is a claim check, or has to become a file because that is what is asked for."""
        return payload.content_type == CONTENT_TYPE or (
            payload.content_type == BYTES and accepts_file(type_hint)
        )

    def unpack(self, payload: Payload, type_hint: object, *, binding: Binding) -> Content:
        """Return what a payload stands for: a verified file where one is asked for, a payload otherwise.

        Raises:
            BlobRefusedError: the claim check or the blob is not acceptable.
            BlobTooLargeError: it is larger than this end takes.
            BlobUnavailableError: the store or the local disk does not do its work now.
            ConfigurationError: the store needs something that is not installed.
        """
        wants_file = accepts_file(type_hint)
        if payload.content_type != CONTENT_TYPE:
            return self._file_of(payload.data) if wants_file else payload
        pointer = parse_pointer(payload.data)
        if wants_file and pointer.content_type == BYTES:
            return read_to_file(pointer, binding=binding, settings=self.settings)
        data = read_to_bytes(pointer, binding=binding, settings=self.settings)
        return Payload(content_type=pointer.content_type, headers=payload.headers, data=data)

    def _file_of(self, data: bytes) -> File:
        try:
            made = File.scratch(self.settings.spool)
            made.path.write_bytes(data)
        except OSError as error:
            raise BlobUnavailableError(
                f"a file cannot be written: {error.strerror}; set blob_spool"
            ) from error
        return made


def accepts_file(type_hint: object) -> bool:
    """Whether a type is File, or a union with it."""
    if type_hint is File:
        return True
    if typing.get_origin(type_hint) not in {typing.Union, UnionType, typing.Annotated}:  # pyright: ignore[reportDeprecated]
        return False
    return any(accepts_file(argument) for argument in typing.get_args(type_hint))
