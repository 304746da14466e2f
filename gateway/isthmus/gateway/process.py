"""A gateway as a process: until a signal says stop."""

import asyncio
import gc
import signal
from collections.abc import Callable

from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.log_setup import set_up_logging
from isthmus.gateway.server import Gateway
from isthmus.gateway.system import Surroundings

# The collector looks for cycles after so many new objects, by default 700: what ten calls under way keep
# alive. Hardly anything here is part of a cycle (values are not even looked at), so looking seldom is enough.
YOUNG_OBJECTS = 20_000

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_process(config: GatewayConfig, *, surroundings: Surroundings | None = None) -> None:
    """Serve until SIGTERM or SIGINT, as everything that this process does.

    ``surroundings`` are the world as it is, unless a test brings another clock.

    Raises:
        ConfigurationError, UnavailableError: as Gateway.start.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run(config, surroundings=surroundings))


async def run(config: GatewayConfig, *, surroundings: Surroundings | None = None) -> None:
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
        gateway = await Gateway.start(config, surroundings=surroundings)
        # What was imported and built stays for good: otherwise every full collection finds that out again,
        # and stops the gateway for 50 ms.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
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


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop: uvloop, where there is one (docs/performance.md)."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows, not on PyPy
    except ImportError:
        return None
    return uvloop.new_event_loop
