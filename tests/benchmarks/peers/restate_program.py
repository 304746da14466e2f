"""Restate: service A calls service B through the server; the caller asks A. Run by the Python of its peer.

``restate_program.py caller INGRESS`` · ``restate_program.py a|b PORT``
"""

import asyncio
import sys

import aiohttp
import hypercorn
import hypercorn.asyncio
import restate
from measured import follow_orders

a, b = restate.Service("A"), restate.Service("B")


@b.handler()
async def echo(_ctx: restate.Context, value: str) -> str:
    """Answer with the input."""
    return value


@a.handler()
async def relay(ctx: restate.Context, value: str) -> str:
    """Call the other application, and wait for its answer."""
    return await ctx.service_call(echo, arg=value)


async def serve(name: str, port: str) -> None:
    """Serve one of the two until the process is ended, over HTTP/2, as the SDK advises."""
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = 2147483647
    config.keep_alive_timeout = 2147483647
    await hypercorn.asyncio.serve(restate.app(services=[a if name == "a" else b]), config)


async def call(ingress: str) -> None:
    """Follow orders."""
    # Not httpx: it looks at all of 64 connections at every request, and took half of the processor.
    async with aiohttp.ClientSession(
        base_url=ingress, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60)
    ) as client:

        async def once(value: str) -> str:
            async with client.post("/A/relay", json=value) as answer:
                answer.raise_for_status()
                result: str = await answer.json()
                return result

        await follow_orders(once)


if __name__ == "__main__":
    asyncio.run(call(sys.argv[2]) if sys.argv[1] == "caller" else serve(sys.argv[1], sys.argv[2]))
