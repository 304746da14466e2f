"""data-team's program: sends a file, compares what comes back, prints how much memory that took."""

import asyncio
import sys
from pathlib import Path

from tests.acceptance.deployment.two_teams import ENDPOINT
from tests.acceptance.large.files import Files, digest_of, peak_bytes
from tests.faults.kill.connecting import connect

from isthmus.blobs import File


async def main(source: Path) -> None:
    """Send, receive, compare."""
    async with await connect() as client:
        files = client.create_nexus_client(endpoint=ENDPOINT, service=Files)
        with await files.execute_operation(Files.back, File(source), id="large-1") as result:
            same = digest_of(result.path) == digest_of(source)
    sys.stdout.write(f"{'same' if same else 'different'} {peak_bytes('self')}\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
