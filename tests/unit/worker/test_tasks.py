"""What a running task keeps for its handler until it is stopped or over."""

import threading
from collections.abc import Callable

import pytest

from isthmus.v1 import worker_service_pb2
from isthmus.worker.signals import SignalInbox
from isthmus.worker.tasks import RunningTask, Stop, key_of


def running_task() -> RunningTask:
    """Return a task that has begun."""
    task = worker_service_pb2.Task(caller_namespace="data-team", operation_id=bytes(16), attempt=1)
    return RunningTask(task, key_of(task))


def end(running: RunningTask) -> None:
    """End a task as its runner does."""
    running.over = True


def cancel(running: RunningTask) -> None:
    """Stop a task because its caller asks for it."""
    running.interrupt(Stop.CANCELED)


def lose(running: RunningTask) -> None:
    """Stop a task because another worker has it."""
    running.interrupt(Stop.LOST)


@pytest.mark.parametrize("ended", [end, cancel, lose])
def test_inbox_is_closed_when_it_is_opened_too_late(ended: Callable[[RunningTask], None]) -> None:
    """A thread that goes on after its task would wait for signals for good."""
    running = running_task()
    ended(running)
    assert running.open_inbox().next_blocking(0) is None


def test_inbox_is_closed_when_its_task_is_stopped() -> None:
    """Whoever waits in it goes on."""
    running = running_task()
    inbox = running.open_inbox()
    running.interrupt(Stop.CANCELED)
    assert inbox.next_blocking(0) is None


def test_inbox_is_one_when_threads_open_it_at_the_same_time() -> None:
    """Signals arrive in one of them only."""
    running = running_task()
    opened: list[SignalInbox] = []
    together = threading.Barrier(8)

    def open_together() -> None:
        together.wait()
        opened.append(running.open_inbox())

    threads = [threading.Thread(target=open_together) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(inbox) for inbox in opened} == {id(running.inbox)}
