"""What can go wrong with a blob. Every message says what to do next, none says what is in it."""

from isthmus.transport.errors import IsthmusError


class BlobError(IsthmusError):
    """A payload could not be put into an object store, or not be taken out of it."""


class BlobRefusedError(BlobError):
    """A claim check, or what lies behind it, is not acceptable: it would be refused again."""


class BlobUnavailableError(BlobError):
    """An object store or the local disk does not do its work now; it may later."""


class BlobTooLargeError(BlobError):
    """A payload is larger than this end is willing to carry."""
