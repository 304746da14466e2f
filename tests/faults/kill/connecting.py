"""Connecting as a supervised process does, which is started again when it gives up."""

import time

from isthmus.client import Client
from isthmus.transport.errors import GatewayError

PATIENCE_SECONDS = 60.0


async def connect() -> Client:
    """Connect, however often it takes: the gateway may be down, and slow to come back on a busy machine.

    Raises:
        GatewayError: it did not come back, or it refuses.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await Client.connect()
        except GatewayError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
