"""DBOS: one application enqueues by the other's name and awaits the result. Run by the Python of its peer.

``dbos_program.py caller|handler DATABASE_URL``. Both poll their queues and results far more often than by
default, once a second: with that they would be slower for nothing.
"""

import asyncio
import sys
import threading

from dbos import DBOS, DBOSClient, DBOSConfig
from measured import follow_orders

APPLICATION, QUEUE = "handler-app", "echo"
QUEUE_POLLING_SECONDS, RESULT_POLLING_SECONDS = 0.01, 0.02
POOL = 32


def config(name: str, url: str) -> DBOSConfig:
    """Return the configuration of one application."""
    return {"name": name, "system_database_url": url, "sys_db_pool_size": POOL, "log_level": "WARNING"}


def serve(url: str) -> None:
    """Serve until the process is ended."""
    DBOS(config=config(APPLICATION, url))

    @DBOS.workflow(name="echo")
    async def echo(value: str) -> str:
        return value

    DBOS.launch()
    DBOS.register_queue(QUEUE, polling_interval_sec=QUEUE_POLLING_SECONDS)
    threading.Event().wait()


async def call(url: str) -> None:
    """Follow orders."""
    client = DBOSClient(
        system_database_url=url, system_database_pool_size=POOL, application_name="caller-app"
    )

    async def once(value: str) -> str:
        handle = await client.enqueue_async(
            {"workflow_name": "echo", "queue_name": QUEUE, "application_name": APPLICATION}, value
        )
        result: str = await handle.get_result(polling_interval_sec=RESULT_POLLING_SECONDS)
        return result

    await follow_orders(once)


if __name__ == "__main__":
    if sys.argv[1] == "caller":
        asyncio.run(call(sys.argv[2]))
    else:
        serve(sys.argv[2])
