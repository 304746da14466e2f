"""Large payloads, by claim check: sealed into an object store, with pointer and digest in the envelope.

::

    report = await reports.execute_operation(Reports.summarize, File("/data/rows.csv"), id="rows-42")
    report.save("/data/summary.csv")
"""

from isthmus.blobs.claim_checks import ClaimChecks
from isthmus.blobs.errors import BlobError, BlobRefusedError, BlobTooLargeError, BlobUnavailableError
from isthmus.blobs.file import File
from isthmus.blobs.settings import BlobSettings

__all__ = [
    "BlobError",
    "BlobRefusedError",
    "BlobSettings",
    "BlobTooLargeError",
    "BlobUnavailableError",
    "ClaimChecks",
    "File",
]
