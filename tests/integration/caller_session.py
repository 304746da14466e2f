"""A caller's session, as a test drives it: frames of calls, and replies gathered by call."""

import asyncio

from tests.integration.operation_calls import start_request
from tests.integration.operation_gateway import Client

from isthmus.v1 import operation_service_pb2

Call = operation_service_pb2.SessionCall
Reply = operation_service_pb2.SessionReply


class Session:
    """A caller's stream; replies are gathered by call."""

    def __init__(self, client: Client) -> None:
        self.frames: list[operation_service_pb2.SessionResponse] = []
        self.drained = asyncio.Event()
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._call = client.operations.Session(metadata=client.metadata)
        self.reader = asyncio.create_task(self._read())

    async def send(self, *calls: Call) -> None:
        """Send a frame."""
        await self._call.write(operation_service_pb2.SessionRequest(calls=calls))

    async def reply(self, call_id: int) -> Reply:
        """Return the reply to a call."""
        return await self._reply(call_id)

    def is_answered(self, call_id: int) -> bool:
        """Whether a call has its reply."""
        return self._reply(call_id).done()

    async def finish(self) -> None:
        """Make no more calls, and read to the end."""
        await self._call.done_writing()
        await self.reader

    def _reply(self, call_id: int) -> "asyncio.Future[Reply]":
        return self._replies.setdefault(call_id, asyncio.get_running_loop().create_future())

    async def _read(self) -> None:
        async for frame in self._call:
            self.frames.append(frame)
            for reply in frame.replies:
                self._reply(reply.call_id).set_result(reply)
            if frame.drain:
                self.drained.set()


def execute_call(call_id: int, envelope: bytes, wait_ms: int = 60_000) -> Call:
    """Return an execute for a frame."""
    return Call(
        call_id=call_id,
        execute=operation_service_pb2.ExecuteOperationRequest(start=start_request(envelope), wait_ms=wait_ms),
    )
