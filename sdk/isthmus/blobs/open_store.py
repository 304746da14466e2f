"""Which object store a prefix names."""

from isthmus.blobs.local_store import LocalStore
from isthmus.blobs.store import BlobStore

_FILE = "file://"


def open_store(root: str) -> BlobStore:
    """Return the store of a prefix that was checked. Nothing is read or written yet.

    Raises:
        ConfigurationError: what it needs is not installed, or not configured.
    """
    if root.startswith(_FILE):
        return LocalStore(root.removeprefix(_FILE))
    from isthmus.blobs.s3_store import S3Store  # noqa: PLC0415 - what it needs is an extra

    return S3Store(root)
