"""Names of blobs: when they were written and until when they are kept, so that a sweep needs a listing only.

``<recipient namespace>/<written>-<kept until>-<random>.sealed``, times as ``20261125T101500Z``. The folder of
the recipient lets the rules of a bucket say who may read what. While a file is being written, its name ends
in ``.partial``.
"""

import re
import secrets
from datetime import UTC, datetime
from typing import Final

RANDOM_BYTES: Final = 16
PARTIAL_SUFFIX: Final = ".partial"
_TIME = "%Y%m%dT%H%M%SZ"
_LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC)
_NAME: Final = re.compile(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/"
    r"(?P<written>\d{8}T\d{6}Z)-(?P<kept_until>\d{8}T\d{6}Z)-[0-9a-f]{32}\.sealed(?P<partial>\.partial)?",
    re.ASCII,
)


def new_name(recipient_namespace: str, *, written: datetime, kept_until: datetime) -> str:
    """Return a name that nobody can guess; both times are aware."""
    times = "-".join(
        min(moment.astimezone(UTC), _LAST_MOMENT).strftime(_TIME) for moment in (written, kept_until)
    )
    return f"{recipient_namespace}/{times}-{secrets.token_hex(RANDOM_BYTES)}.sealed"


def is_blob_name(name: str) -> bool:
    """Whether this is the name of a blob that was written to its end."""
    found = _NAME.fullmatch(name)
    return found is not None and not found["partial"]


def kept_until(name: str) -> datetime | None:
    """Return until when a blob, or the rest of one, is kept; None for everything that is not ours."""
    found = _NAME.fullmatch(name)
    try:
        return None if found is None else datetime.strptime(found["kept_until"], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
