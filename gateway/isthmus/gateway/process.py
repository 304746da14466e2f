"""A gateway as a process: until a signal says stop."""

import asyncio
import signal

from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.log_setup import set_up_logging
from isthmus.gateway.server import Gateway

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal stops at once.

    Raises:
        ConfigurationError, UnavailableError: as Gateway.start.
    """
    set_up_logging(config.log)
    loop = asyncio.get_running_loop()
    asked, insisted = asyncio.Event(), asyncio.Event()

    def signaled() -> None:
        (insisted if asked.is_set() else asked).set()

    # Before the start: a signal that comes while it starts is not lost, and does not kill it half-way.
    for number in _SIGNALS:
        loop.add_signal_handler(number, signaled)
    try:
        gateway = await Gateway.start(config)
        await asked.wait()
        stopping = loop.create_task(gateway.stop())
        insisting = loop.create_task(insisted.wait())
        await asyncio.wait({stopping, insisting}, return_when=asyncio.FIRST_COMPLETED)
        insisting.cancel()
        if insisted.is_set():
            await gateway.stop()
        await stopping
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
