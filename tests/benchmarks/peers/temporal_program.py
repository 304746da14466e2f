"""Temporal: a standalone Nexus operation from one namespace to another. Run by the Python of its peer.

``temporal_program.py caller|handler ADDRESS``
"""

import asyncio
import sys
import uuid
from datetime import timedelta

import nexusrpc
from measured import follow_orders
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

ENDPOINT, TASK_QUEUE = "echo", "echo"
CALLER, HANDLER = "caller-ns", "handler-ns"
MOST_TASKS, POLLERS = 512, 16


@nexusrpc.service
class Echo:
    """What the handler's team serves."""

    echo: nexusrpc.Operation[str, str]


@service_handler(service=Echo)
class EchoHandler:
    """Answers at once."""

    @sync_operation
    async def echo(self, _ctx: StartOperationContext, value: str) -> str:
        """Answer with the input."""
        return value


async def serve(address: str) -> None:
    """Serve until the process is ended."""
    client = await Client.connect(address, namespace=HANDLER)
    worker = Worker(
        client,
        task_queue=TASK_QUEUE,
        nexus_service_handlers=[EchoHandler()],
        max_concurrent_nexus_tasks=MOST_TASKS,
        nexus_task_poller_behavior=PollerBehaviorSimpleMaximum(maximum=POLLERS),
    )
    await worker.run()


async def call(address: str) -> None:
    """Follow orders."""
    client = await Client.connect(address, namespace=CALLER)
    echo = client.create_nexus_client(Echo, ENDPOINT)

    async def once(value: str) -> str:
        result: str = await echo.execute_operation(
            Echo.echo, value, id=str(uuid.uuid4()), schedule_to_close_timeout=timedelta(seconds=60)
        )
        return result

    await follow_orders(once)


if __name__ == "__main__":
    asyncio.run((call if sys.argv[1] == "caller" else serve)(sys.argv[2]))
