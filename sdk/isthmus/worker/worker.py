"""The worker: polls a task queue of its namespace and runs operation handlers for it."""

import asyncio
import concurrent.futures
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from isthmus.envelope.replay import RedeliveryGuard
from isthmus.wire.names import check_task_queue
from isthmus.worker.cancel_task import CancelTasks
from isthmus.worker.connected import ClientKeys, WorkerClient, rules_of
from isthmus.worker.envelopes import Identity, TaskEnvelopes
from isthmus.worker.errors import WorkerError
from isthmus.worker.execution import Execution
from isthmus.worker.handlers import OperationHandlers
from isthmus.worker.interceptor import Interceptor
from isthmus.worker.large_payloads import LargePayloads
from isthmus.worker.link import Link, TransportChoice
from isthmus.worker.queue_look import warn_if_unused
from isthmus.worker.reports import DEFAULT_INTERVAL, Reports
from isthmus.worker.session import Session, SessionOptions
from isthmus.worker.signal_reads import SignalReads
from isthmus.worker.signal_task import SignalTasks
from isthmus.worker.start_task import StartTasks
from isthmus.worker.stream import WorkStream
from isthmus.worker.unary import UnaryTransport

logger = logging.getLogger("isthmus.worker")

DEFAULT_GRACE = timedelta(seconds=30)
# Outcomes that are sealed already get this long to be acknowledged, after the handlers' own grace.
LAST_ACKS_SECONDS = 5.0
# What was given back, or was interrupted, gets this long when the worker stops hard.
HARD_STOP_SECONDS = 1.0


class Worker:
    """Runs the handlers of one task queue.

    ``await worker.run()`` serves until ``shutdown`` is called or the task that runs it is canceled. As a
    context manager a worker serves in the background and shuts down at the end of the block. A worker runs
    once.
    """

    def __init__(
        self,
        client: WorkerClient,
        *,
        task_queue: str,
        nexus_service_handlers: Sequence[Any],
        max_concurrent_tasks: int = 100,
        executor: concurrent.futures.Executor | None = None,
        version: str = "",
        identity: str | None = None,
        endpoints: Collection[str] | None = None,
        interceptors: Sequence[Interceptor] = (),
        graceful_shutdown_timeout: timedelta = DEFAULT_GRACE,
        heartbeat_interval: timedelta = DEFAULT_INTERVAL,
        transport: TransportChoice = "auto",
    ) -> None:
        """Prepare a worker; nothing is sent before it runs.

        Args:
            client: connection, keys and trust of the namespace that serves.
            task_queue: the queue to poll; endpoints of the namespace route to it.
            nexus_service_handlers: instances of classes decorated with ``nexusrpc.handler.service_handler``.
            max_concurrent_tasks: how many tasks this worker holds at a time.
            executor: where ``def`` handlers run, each with a copy of the context variables; by default
                threads, as many as there may be tasks.
            version: version that the worker announces.
            identity: name for people; by default ``host:pid``.
            endpoints: accept only requests whose signed header names one of these; by default any endpoint
                that the gateway routes here.
            interceptors: layers around the handlers, the first one outermost.
            graceful_shutdown_timeout: how long running handlers may take after ``shutdown``.
            heartbeat_interval: how often at most a task's reports go out that nobody waits for.
            transport: ``stream``, ``unary`` for proxies that break streams, or ``auto`` to find out.

        Raises:
            ValueError: an argument is out of range or malformed.
            RuntimeError, TypeError: what nexusrpc objects to in a service handler.
        """
        if max_concurrent_tasks < 1:
            raise ValueError("max_concurrent_tasks is at least 1")
        self._client = client
        threads = executor or concurrent.futures.ThreadPoolExecutor(
            max_concurrent_tasks, thread_name_prefix="isthmus-handler"
        )
        self._owned_executor = threads if executor is None else None
        self._options = SessionOptions(
            task_queue=check_task_queue(task_queue),
            identity=identity or f"{socket.gethostname()}:{os.getpid()}",
            version=version,
            max_concurrent_tasks=max_concurrent_tasks,
        )
        self._grace = graceful_shutdown_timeout
        self._transport: TransportChoice = transport
        handlers = OperationHandlers(
            nexus_service_handlers,
            executor=threads,
            interceptors=interceptors,
            converter=client.payload_converter,
        )
        own = Identity(
            namespace=client.namespace, trust_domain=client.trust_domain, principal=client.principal
        )
        envelopes = TaskEnvelopes(
            identity=own,
            keys=ClientKeys.of(client),
            guard=RedeliveryGuard(),
            rules=rules_of(client),
        )
        self._reports = Reports(envelopes, interval=heartbeat_interval)
        self._signal_reads = SignalReads(envelopes, client.payload_converter)
        self._runner = Execution(
            starts=StartTasks(
                envelopes=envelopes,
                handlers=handlers,
                converter=client.payload_converter,
                large_payloads=LargePayloads(client.claim_checks, own),
                reports=self._reports,
                signal_reads=self._signal_reads,
                task_queue=task_queue,
                endpoints=endpoints,
            ),
            cancels=CancelTasks(envelopes=envelopes, handlers=handlers),
            signals=SignalTasks(envelopes=envelopes, handlers=handlers, converter=client.payload_converter),
        )
        self._services = handlers.services
        self._session: Session | None = None
        self._stopping = asyncio.Event()
        self._stopping_hard = asyncio.Event()
        self._background: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until ``shutdown``, then finish what runs.

        Raises:
            WorkerRefusedError: the gateway refused the first contact.
            WorkerError: the worker ran before.
        """
        if self._session is not None:
            raise WorkerError("a worker runs once; make a new one")
        session = self._session = Session(
            options=self._options,
            runner=self._runner,
            reports=self._reports,
            signal_reads=self._signal_reads,
        )
        link = Link(
            session=session,
            choice=self._transport,
            stream=lambda: WorkStream(session=session, connection=self._client.connection),
            unary=lambda: UnaryTransport(session=session, connection=self._client.connection),
            is_connected=lambda: self._client.connection.connected,
        )
        logger.info(
            "worker %s of namespace %s polls task queue %s and serves %s",
            self._options.identity,
            self._client.namespace,
            self._options.task_queue,
            ", ".join(self._services) or "nothing",
        )
        linking = asyncio.create_task(link.run())
        stopping = asyncio.create_task(self._stopping.wait())
        looking = asyncio.create_task(self._look_at_queue(session))
        try:
            await asyncio.wait({linking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not linking.done():
                await self._finish(session, linking)
            await linking
        finally:
            session.pool.stop_all()
            session.close()
            for job in (linking, stopping, looking):
                job.cancel()
            await asyncio.gather(linking, stopping, looking, return_exceptions=True)
            if self._owned_executor is not None:
                self._owned_executor.shutdown(wait=False, cancel_futures=True)

    async def shutdown(self) -> None:
        """Take no further tasks, and return when the worker has ended.

        Running handlers get ``graceful_shutdown_timeout``; what is left then is interrupted and given back. A
        second call interrupts at once.
        """
        if self._stopping.is_set():
            self._stopping_hard.set()
        self._stopping.set()
        if self._background is not None:
            await asyncio.wait({self._background})

    async def wait_connected(self) -> None:
        """Return when the gateway has answered for the first time. Only while the worker runs."""
        if self._session is None:
            raise WorkerError("the worker does not run")
        await self._session.wait_established()

    async def __aenter__(self) -> Self:
        """Serve in the background. Raises what ``run`` raises for the first contact."""
        self._background = asyncio.create_task(self.run())
        await asyncio.sleep(0)
        connected = asyncio.create_task(self.wait_connected())
        await asyncio.wait({self._background, connected}, return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if self._background.done():
            self._background.result()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Shut down gracefully."""
        await self.shutdown()
        if self._background is not None:
            await self._background

    async def _look_at_queue(self, session: Session) -> None:
        await session.wait_established()
        await warn_if_unused(self._client, self._options.task_queue)

    async def _finish(self, session: Session, linking: asyncio.Task[None]) -> None:
        session.drain()
        session.pool.return_tasks()
        await self._until(session.pool.idle(), linking, seconds=self._grace.total_seconds())
        if len(session.pool):
            logger.warning(
                "%d tasks did not end in time; they are interrupted and given back", len(session.pool)
            )
        session.pool.stop_all()
        hard = self._stopping_hard.is_set()
        await self._until(
            session.outbox.emptied(), linking, seconds=HARD_STOP_SECONDS if hard else LAST_ACKS_SECONDS
        )
        if len(session.outbox):
            logger.warning(
                "%d outcomes were not acknowledged; their tasks are delivered again", len(session.outbox)
            )
        session.close()

    async def _until(
        self, awaited: Coroutine[Any, Any, None], linking: asyncio.Task[None], *, seconds: float
    ) -> None:
        """Wait for something, at most so long, until a second shutdown, or until the link fails."""
        job = asyncio.create_task(awaited)
        hard = asyncio.create_task(self._stopping_hard.wait())
        waiting = {job, linking} if self._stopping_hard.is_set() else {job, hard, linking}
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        job.cancel()
        hard.cancel()


def run_sync(make: Callable[[], Awaitable[Worker]]) -> None:
    """Make a worker in an event loop of its own and run it: for programs that have none.

    Connections belong to the loop that made them, so client and worker are made inside::

        async def make() -> Worker:
            client = await Client.connect("localhost:7243", namespace="payments")
            return Worker(client, task_queue="payments", nexus_service_handlers=[PaymentsHandler()])

        run_sync(make)

    Raises what ``Worker.run`` raises.
    """

    async def main() -> None:
        worker = await make()
        await worker.run()

    asyncio.run(main())
