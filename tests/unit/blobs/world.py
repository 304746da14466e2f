"""Two teams that exchange blobs through a folder."""

from datetime import UTC, datetime
from pathlib import Path

from isthmus.blobs.claim_checks import ClaimChecks
from isthmus.blobs.pointer import Pointer
from isthmus.blobs.sealing import Binding
from isthmus.blobs.settings import BlobSettings
from isthmus.wire.header import Direction

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
SENDER = "data-team"
RECIPIENT = "app-team"


def binding(
    *,
    sender: str = SENDER,
    recipient: str = RECIPIENT,
    operation_id: bytes = b"o" * 16,
    direction: Direction = Direction.REQUEST,
) -> Binding:
    """Return what a blob is bound to: a request, unless told otherwise."""
    return Binding(
        trust_domain="acme",
        sender_namespace=sender,
        recipient_namespace=recipient,
        endpoint="reports",
        service="Reports",
        operation="summarize",
        operation_id=operation_id,
        direction=direction,
    )


class World:
    """A folder for blobs and one for temporary files, and both ends."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.root = f"file://{self.store}/"
        self.sender = ClaimChecks(BlobSettings(store=self.root, threshold_bytes=10), now=lambda: NOW)
        self.settings = BlobSettings(prefixes={SENDER: (self.root,)}, spool=self.spool)
        self.recipient = ClaimChecks(self.settings)

    def blob(self, pointer: Pointer) -> Path:
        """Return where a blob is."""
        return Path(pointer.url.removeprefix("file://"))

    def spooled(self) -> list[Path]:
        """Return the temporary files that there are."""
        return list(self.spool.iterdir())
