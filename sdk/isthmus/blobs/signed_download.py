"""Downloads an object by a signed URL, from the server that was configured and from no other.

The library that signs follows redirects, so a store could make its readers ask any server that they can
reach. Here a redirect is an error. A connection that breaks is taken up where it broke.
"""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO, Final

from isthmus.blobs.errors import BlobRefusedError, BlobUnavailableError
from isthmus.blobs.sealing import PIECE_BYTES
from isthmus.blobs.store import Reading

_TIMEOUT_SECONDS: Final = 60.0
"""Longest silence of the server."""
_PAUSES_SECONDS: Final = (0.2, 1.0, 3.0)
_NOT_FOUND: Final = 404
_SERVER_ERRORS: Final = 500


class _RefuseRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917 - as in the base class
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow nothing: the response becomes an HTTPError."""


_OPENER: Final = urllib.request.build_opener(_RefuseRedirects)


class SignedDownload:
    """One object: opened at once, so that its size is known, read piece by piece."""

    def __init__(self, sign: Callable[[], str], *, root: str) -> None:
        """Take what returns a URL that is valid now, and the prefix that errors name.

        Raises:
            BlobRefusedError: the object is not there.
            BlobUnavailableError: the server does not give it now.
        """
        self._sign = sign
        self._root = root
        self._failures = 0
        self._response: IO[bytes] = self._opened(0)

    def reading(self) -> Reading:
        """Return its size and its content."""
        size_bytes = _size_of(self._response)
        return Reading(size_bytes, self._pieces(size_bytes))

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def _pieces(self, size_bytes: int) -> Iterator[bytes]:
        at = 0
        while at < size_bytes:
            broken: Exception = http.client.IncompleteRead(b"")
            try:
                piece = self._response.read(PIECE_BYTES)
            except (OSError, http.client.HTTPException) as error:
                piece, broken = b"", error
            if piece:
                at += len(piece)
                yield piece
            else:
                self._response.close()
                self._pause_or_fail(broken)
                self._response = self._opened(at)

    def _opened(self, start: int) -> IO[bytes]:
        while True:
            request = urllib.request.Request(self._sign())  # noqa: S310 - the library signs http(s) only
            if start:
                request.add_header("Range", f"bytes={start}-")
            try:
                response: IO[bytes] = _OPENER.open(request, timeout=_TIMEOUT_SECONDS)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == _NOT_FOUND:
                    raise BlobRefusedError("the blob is not there: swept after its time?") from None
                if error.code < _SERVER_ERRORS:
                    raise _unavailable(self._root, f"the server answers {error.code}") from None
                self._pause_or_fail(error)
            except (OSError, http.client.HTTPException) as error:
                self._pause_or_fail(error)
            else:
                if start and getattr(response, "status", 0) != http.client.PARTIAL_CONTENT:
                    response.close()
                    raise _unavailable(self._root, "the server does not resume")
                return response

    def _pause_or_fail(self, error: Exception) -> None:
        if self._failures == len(_PAUSES_SECONDS):
            raise _unavailable(self._root, type(error).__name__) from None
        time.sleep(_PAUSES_SECONDS[self._failures])
        self._failures += 1


def _size_of(response: IO[bytes]) -> int:
    headers = getattr(response, "headers", {})
    text = str(headers.get("Content-Length", ""))
    return int(text) if text.isdecimal() else -1


def _unavailable(root: str, why: str) -> BlobUnavailableError:
    return BlobUnavailableError(
        f"a blob below {root} cannot be read: {why}; check credentials, bucket policy and endpoint (AWS_…),"
        " then try again"
    )
