"""When a link takes the unary way, and when it stays with streams."""

import logging

import pytest

from isthmus.envelope.open import Opened
from isthmus.payload.converter import DefaultPayloadConverter
from isthmus.payload.payload import Payload
from isthmus.transport.backoff import Backoff
from isthmus.transport.errors import ConnectionLostError
from isthmus.wire.header import Direction
from isthmus.worker import link as link_module
from isthmus.worker.answer import Answer
from isthmus.worker.envelopes import Place, RequestFacts
from isthmus.worker.link import BROKEN_STREAMS_BEFORE_UNARY, Link
from isthmus.worker.reports import Reports
from isthmus.worker.session import Session, SessionOptions
from isthmus.worker.signal_reads import SignalReads
from isthmus.worker.tasks import RunningTask


class NoTasks:
    """A runner that nothing is given to."""

    async def run(self, running: RunningTask) -> Answer | None:
        """There are no tasks."""
        raise AssertionError(running)

    async def interrupt(self, running: RunningTask, cancel: bytes) -> None:
        """There are no tasks."""
        raise AssertionError(running, cancel)

    async def seal(
        self,
        direction: Direction,
        payload: Payload,
        *,
        request: RequestFacts,
        newest_keys: bool = False,
        place: Place | None = None,
    ) -> bytes:
        """There is nothing to report."""
        raise AssertionError(direction, payload, request, newest_keys, place)

    async def open_signal(self, data: bytes, *, request: RequestFacts) -> Opened:
        """There is nothing to read."""
        raise AssertionError(data, request)


def session_of(options: SessionOptions) -> Session:
    """Return a session without tasks."""
    return Session(
        options=options,
        runner=NoTasks(),
        reports=Reports(NoTasks()),
        signal_reads=SignalReads(NoTasks(), DefaultPayloadConverter()),
    )


class LostConnection:
    """A way to a gateway on which nothing arrives; after the last attempt the session is closed."""

    established = False

    def __init__(self, name: str, taken: list[str], session: Session, *, attempts: int) -> None:
        self._name = name
        self._taken = taken
        self._session = session
        self._attempts = attempts

    async def serve(self) -> None:
        """Fail as a call to a gateway fails that is away."""
        self._taken.append(self._name)
        if len(self._taken) == self._attempts:
            self._session.close()
        raise ConnectionLostError("connection refused")


class Answered:
    """A connection on which the gateway answers; then the session is closed."""

    established = True

    def __init__(self, session: Session) -> None:
        self._session = session

    async def serve(self) -> None:
        """Hear two frames."""
        self._session.connected()
        self._session.receive()
        self._session.receive()
        self._session.close()


async def _ways_taken(*, connected: bool, attempts: int) -> list[str]:
    options = SessionOptions(task_queue="payments", identity="test", version="", max_concurrent_tasks=1)
    session = Session(
        options=options,
        runner=NoTasks(),
        reports=Reports(NoTasks()),
        signal_reads=SignalReads(NoTasks(), DefaultPayloadConverter()),
    )
    taken: list[str] = []
    link = Link(
        session=session,
        choice="auto",
        stream=lambda: LostConnection("stream", taken, session, attempts=attempts),
        unary=lambda: LostConnection("unary", taken, session, attempts=attempts),
        is_connected=lambda: connected,
    )
    await link.run()
    return taken


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect at once."""
    monkeypatch.setattr(link_module, "RECONNECT", Backoff(initial_seconds=0.001, maximum_seconds=0.001))


async def test_link_stays_with_streams_when_the_gateway_is_away() -> None:
    """A gateway that restarts says nothing about streams: a worker that fell back would stay slow."""
    attempts = BROKEN_STREAMS_BEFORE_UNARY + 2
    assert await _ways_taken(connected=False, attempts=attempts) == ["stream"] * attempts


async def test_link_tries_unary_calls_when_only_streams_break() -> None:
    """The connection is up and nothing comes through: perhaps something between breaks streams."""
    expected = ["stream"] * BROKEN_STREAMS_BEFORE_UNARY + ["unary", "stream"]
    assert await _ways_taken(connected=True, attempts=len(expected)) == expected


async def test_worker_says_so_when_it_is_connected_again(caplog: pytest.LogCaptureFixture) -> None:
    """Once, and with advice for a worker: it starts no operations that it could repeat."""
    caplog.set_level(logging.INFO)
    options = SessionOptions(task_queue="payments", identity="test", version="", max_concurrent_tasks=1)
    session = Session(
        options=options,
        runner=NoTasks(),
        reports=Reports(NoTasks()),
        signal_reads=SignalReads(NoTasks(), DefaultPayloadConverter()),
    )
    taken: list[str] = []

    def connect() -> LostConnection | Answered:
        return Answered(session) if taken else LostConnection("stream", taken, session, attempts=9)

    link = Link(session=session, choice="stream", stream=connect, unary=connect, is_connected=lambda: False)
    await link.run()
    failed, again = caplog.records
    assert failed.getMessage() == (
        "the connection to the gateway failed (1): connection refused; check the address and that the "
        "gateway runs. Handlers run on; outcomes are kept and sent again"
    )
    assert (again.levelname, again.getMessage()) == ("INFO", "connected to the gateway again")


async def test_worker_says_nothing_when_its_first_connection_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Again is for those who were away."""
    caplog.set_level(logging.INFO)
    options = SessionOptions(task_queue="payments", identity="test", version="", max_concurrent_tasks=1)
    session = Session(
        options=options,
        runner=NoTasks(),
        reports=Reports(NoTasks()),
        signal_reads=SignalReads(NoTasks(), DefaultPayloadConverter()),
    )
    link = Link(
        session=session,
        choice="stream",
        stream=lambda: Answered(session),
        unary=lambda: Answered(session),
        is_connected=lambda: True,
    )
    await link.run()
    assert not caplog.records
