"""The Work stream: frames both ways, on one connection of a session.

The writer sends whatever has gathered while its previous write was in flight: frames grow with the load, and
nothing waits when there is none.
"""

import asyncio
from typing import TYPE_CHECKING

import grpc.aio

from isthmus.transport.connection import Connection
from isthmus.transport.status import error_from_rpc
from isthmus.v1 import worker_service_pb2
from isthmus.worker.session import Session
from isthmus.worker.stub import worker_stub

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[worker_service_pb2.WorkRequest, worker_service_pb2.WorkResponse]

FIRST_FRAME_SECONDS = 10.0
LAST_FRAMES_SECONDS = 1.0
HEARTBEATS_PER_LEASE = 3


class BrokenStreamError(Exception):
    """A stream opened but carried nothing: something between worker and gateway breaks streams."""


class WorkStream:
    """One connection of a session."""

    def __init__(
        self,
        *,
        session: Session,
        connection: Connection,
        first_frame_seconds: float = FIRST_FRAME_SECONDS,
    ) -> None:
        self._session = session
        self._connection = connection
        self._stub = worker_stub(connection)
        self._first_frame_seconds = first_frame_seconds
        self._last_write = 0.0
        self._drained = False
        self._established = asyncio.Event()

    @property
    def established(self) -> bool:
        """Whether the gateway has answered on this connection."""
        return self._established.is_set()

    async def serve(self) -> None:
        """Exchange frames until the gateway drains or ends the connection, or the session is closed.

        Raises:
            GatewayError: the connection failed.
            BrokenStreamError: the gateway's first frame did not arrive in time.
        """
        self._session.connected()
        call = self._stub.Work(metadata=self._connection.metadata())
        writer = asyncio.create_task(self._write(call))
        reader = asyncio.create_task(self._read(call))
        heart = asyncio.create_task(self._beat())
        try:
            established = asyncio.create_task(self._established.wait())
            await asyncio.wait(
                {reader, established},
                timeout=self._first_frame_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            established.cancel()
            if not reader.done():
                self._require_first_frame()
                await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
                # What the gateway sent before it sees that this side leaves still counts.
                await asyncio.wait({reader}, timeout=LAST_FRAMES_SECONDS)
            if reader.done():
                try:
                    reader.result()
                except grpc.aio.AioRpcError as error:
                    raise error_from_rpc(error) from None
                self._require_first_frame()
        finally:
            # A call takes the cancellation of a read for its own, so the jobs end before it does.
            call.cancel()
            for job in (reader, writer, heart):
                job.cancel()
            await asyncio.gather(reader, writer, heart, return_exceptions=True)

    def _require_first_frame(self) -> None:
        if not self._established.is_set():
            raise BrokenStreamError("the stream carried no frame")

    async def _read(self, call: "Call") -> None:
        while isinstance(frame := await call.read(), worker_service_pb2.WorkResponse):
            if frame.lease_ms:
                self._session.lease_seconds = frame.lease_ms / 1000
            self._established.set()
            self._session.receive(
                tasks=frame.tasks,
                interrupts=frame.interrupts,
                acks=frame.acks,
                report_acks=frame.report_acks,
                signals=frame.signals,
            )
            if frame.drain:
                self._drained = True
                self._session.wake()

    async def _write(self, call: "Call") -> None:
        clock = asyncio.get_running_loop().time
        frame = self._session.next_frame() or worker_service_pb2.WorkRequest()
        frame.hello.CopyFrom(self._session.hello)
        await call.write(frame)
        self._last_write = clock()
        while not (self._drained or self._session.closed):
            following = self._session.next_frame()
            if following is None:
                await self._session.changed()
            else:
                await call.write(following)
                self._last_write = clock()
        await call.done_writing()

    async def _beat(self) -> None:
        """Ask for an empty frame whenever nothing else was written for a third of the lease."""
        await self._established.wait()
        clock = asyncio.get_running_loop().time
        interval = self._session.lease_seconds / HEARTBEATS_PER_LEASE
        while True:
            left = self._last_write + interval - clock()
            if left <= 0:
                self._session.heartbeat()
            await asyncio.sleep(left if left > 0 else interval)
