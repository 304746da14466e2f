"""A crowd of worker sessions, each with a stream and one credit: they take tasks and never answer.

Every line on the standard output is a fact: ``ready``, then ``task <operation id>`` for each task that came.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from tests.acceptance.deployment.two_teams import TASK_QUEUE

from isthmus.client.assembly import token_source
from isthmus.client.profile import load_profile
from isthmus.transport.credentials import call_metadata
from isthmus.v1 import worker_service_pb2, worker_service_pb2_grpc
from isthmus.wire.names import OperationId, format_operation_id

Stream = Any  # the stubs know blocking calls only

STREAMS_PER_CONNECTION = 500
# So many open at a time: a crowd that comes at once is another test.
OPENING = 200
HEARTBEAT_SECONDS = 20.0


class Crowd:
    """Pollers, on as many connections as they need."""

    def __init__(self, address: str, metadata: tuple[tuple[str, str], ...]) -> None:
        self._address = address
        self._metadata = metadata
        self._opening = asyncio.Semaphore(OPENING)
        self._channels: list[grpc.aio.Channel] = []

    async def gather(self, size: int) -> None:
        """Open every stream, say so, and hold them."""
        for _ in range(0, size, STREAMS_PER_CONNECTION):
            # Otherwise gRPC shares one connection among channels to the same address.
            options = [("grpc.use_local_subchannel_pool", 1)]
            self._channels.append(grpc.aio.insecure_channel(self._address, options=options))
        welcomed = asyncio.Event()
        waiting = size

        def welcome() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                welcomed.set()

        async with asyncio.TaskGroup() as group:
            for number in range(size):
                channel = self._channels[number // STREAMS_PER_CONNECTION]
                group.create_task(self._poll(channel, number, welcome))
            await welcomed.wait()
            sys.stdout.write("ready\n")
            sys.stdout.flush()

    async def _poll(self, channel: grpc.aio.Channel, number: int, welcome: Callable[[], None]) -> None:
        async with self._opening:
            stub: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
            stream: Stream = stub.Work(metadata=self._metadata)
            hello = worker_service_pb2.WorkerHello(
                session_id=os.urandom(16), task_queue=TASK_QUEUE, identity=f"poller-{number}"
            )
            await stream.write(worker_service_pb2.WorkRequest(hello=hello, credits=1))
            await stream.read()
        welcome()
        heart = asyncio.create_task(_beat(stream))
        while (frame := await stream.read()) is not grpc.aio.EOF:
            for task in frame.tasks:
                sys.stdout.write(f"task {format_operation_id(OperationId(task.operation_id))}\n")
                sys.stdout.flush()
        heart.cancel()


async def _beat(stream: Stream) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await stream.write(worker_service_pb2.WorkRequest())


async def main(size: int) -> None:
    """Poll until killed."""
    credentials = token_source(load_profile(), os.environ)
    crowd = Crowd(os.environ["ISTHMUS_ADDRESS"], call_metadata(credentials))
    await crowd.gather(size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("size", type=int)
    asyncio.run(main(parser.parse_args().size))
