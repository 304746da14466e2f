"""An S3 bucket as an object store, through ``obstore``: any server that speaks S3.

Credentials, region and endpoint are what AWS tools read from the environment (``AWS_ACCESS_KEY_ID``,
``AWS_REGION``, ``AWS_ENDPOINT_URL``, web identity, instance roles).
"""

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from isthmus.blobs.errors import BlobUnavailableError
from isthmus.blobs.signed_download import SignedDownload
from isthmus.blobs.store import Reading
from isthmus.transport.errors import ConfigurationError

try:
    import obstore
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
    from obstore.store import S3Store as ObjectStore
except ModuleNotFoundError as missing:
    raise ConfigurationError(f"blobs in S3 need {missing.name}: pip install 'isthmus[blobs]'") from None

PART_BYTES: Final = 8 * 1024 * 1024
"""Parts of an upload: S3 takes 10,000 of them, so 80 GB is the most."""
_PARTS_AT_ONCE: Final = 2
_SIGNED_FOR: Final = timedelta(minutes=15)
"""How long a download may take to begin."""


class S3Store:
    """Objects below a prefix of a bucket."""

    def __init__(self, root: str) -> None:
        """Take ``s3://bucket/`` or ``s3://bucket/folder/``."""
        self._root = root
        bucket, _, self._prefix = root.removeprefix("s3://").partition("/")
        try:
            self._store = ObjectStore(bucket)
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"{root} cannot be used: {_short(error)}") from None

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Upload in parts: the object appears when the last one is confirmed."""
        source = _Source(pieces)
        try:
            obstore.put(
                self._store,
                self._prefix + name,
                source,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
        except Exception as error:
            if source.error is not None:
                raise source.error from None
            raise self._unavailable("written", error) from error

    @contextmanager
    def read(self, name: str) -> Generator[Reading]:
        """Download by a signed URL; see ``isthmus.blobs.signed_download``."""
        download = SignedDownload(lambda: self._signed(name), root=self._root)
        try:
            yield download.reading()
        finally:
            download.close()

    def names(self) -> Iterator[str]:
        """List below the prefix."""
        try:
            for page in obstore.list(self._store, prefix=self._prefix or None):
                for found in page:
                    yield found["path"].removeprefix(self._prefix)
        except (BaseError, OSError) as error:
            raise self._unavailable("listed", error) from error

    def delete(self, name: str) -> None:
        """Delete."""
        try:
            obstore.delete(self._store, self._prefix + name)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self._unavailable("deleted", error) from error

    def _signed(self, name: str) -> str:
        try:
            url = obstore.sign(self._store, "GET", self._prefix + name, _SIGNED_FOR)
        except (BaseError, OSError) as error:
            raise self._unavailable("read", error) from error
        if not url.startswith("https://") and os.environ.get("AWS_ALLOW_HTTP", "").lower() != "true":
            raise ConfigurationError(
                "AWS_ENDPOINT_URL is without TLS; use https://, or set AWS_ALLOW_HTTP=true where that is safe"
            )
        return url

    def _unavailable(self, what: str, error: Exception) -> BlobUnavailableError:
        denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        advice = (
            "check the credentials (AWS_…) and the bucket's policy" if denied else "check AWS_ENDPOINT_URL"
        )
        return BlobUnavailableError(
            f"a blob below {self._root} cannot be {what}: {_short(error)}; {advice}, then try again"
        )


class _Source:
    """The pieces of an upload, and what went wrong while they were made: the library hides that."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


def _short(error: Exception) -> str:
    """Return the first line of a message of the library, which may go on for a page."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
