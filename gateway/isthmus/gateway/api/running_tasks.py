"""What workers say that they run, held against the store: interrupts for what is no longer theirs.

An interrupt is sent when something happens to an operation, and may be lost: with the connection, with the
gateway that sent it, or on the way from another gateway. A handler that waits for ever would then keep its
worker from taking other tasks, for ever.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from isthmus.gateway.api.task_outcomes import Ref, key_of
from isthmus.gateway.core.operation import State
from isthmus.gateway.ports import EnvelopeSlot, Reader, Store, TaskInterrupted
from isthmus.v1 import worker_service_pb2


class RunningTasks:
    """Compares. Lives on the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def interrupts(self, session_id: bytes, stated: Sequence[Ref]) -> list[TaskInterrupted]:
        """Return an interrupt for each start task that the session has not, or whose caller canceled it.

        Raises:
            WireFormatError: one of them names no operation.
            GatewayError: the store cannot be read now.
        """
        starts = [
            TaskInterrupted(session_id=session_id, key=key_of(ref), attempt=ref.attempt, cancel=None)
            for ref in stated
            if ref.kind == worker_service_pb2.TASK_KIND_START
        ]
        if not starts:
            return []
        return await self._store.read(
            lambda reader: [found for start in starts if (found := _interrupt(reader, start)) is not None]
        )


def _interrupt(reader: Reader, running: TaskInterrupted) -> TaskInterrupted | None:
    operation = reader.operation(running.key)
    if (
        operation is None
        or operation.state is not State.DISPATCHED
        or operation.session_id != running.session_id
        or operation.attempt != running.attempt
    ):
        return running
    if not operation.cancel_requested:
        return None
    return replace(running, cancel=reader.envelope(running.key, EnvelopeSlot.CANCEL))
