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
    gateway = await Gateway.start(config)
    loop = asyncio.get_running_loop()
    stops: set[asyncio.Task[None]] = set()

    def stop() -> None:
        task = loop.create_task(gateway.stop())
        stops.add(task)

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        await gateway.wait()
        await gateway.stop()
        await asyncio.gather(*stops)
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
