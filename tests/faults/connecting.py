"""Connecting through a network that fails: patient, and quick to notice that a connection is dead."""

import asyncio
import os
import time

from isthmus.client import Client
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.errors import GatewayError, UnauthenticatedError

PATIENCE_SECONDS = 120.0
# A silent connection is given up after this and ten seconds more; the gateway takes no more pings than this.
KEEPALIVE_SECONDS = 6.0
AGAIN_SECONDS = 0.2


async def connect() -> Client:
    """Connect, however often it takes.

    Raises:
        GatewayError: the gateway did not come back, or it refuses.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    settings = ChannelSettings(address=os.environ["ISTHMUS_ADDRESS"], keepalive_seconds=KEEPALIVE_SECONDS)
    while True:
        try:
            return await Client.connect(channel=settings)
        except GatewayError as error:
            # Credentials are refused while the gateway's clock is wrong.
            passes = error.retryable or isinstance(error, UnauthenticatedError)
            if not passes or time.monotonic() > deadline:
                raise
            await asyncio.sleep(AGAIN_SECONDS)
