"""What a handler may know about the task that it runs: ``isthmus.worker.current()``.

``nexusrpc`` contexts carry what is the same on every worker. What only Isthmus knows is here, all of it read
from the signed header of the request, none of it from what the gateway says beside it.
"""

import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from isthmus.wire.names import NamespaceName
from isthmus.worker.errors import NotInTaskError
from isthmus.worker.reported import Reported
from isthmus.worker.reporter import Reporter
from isthmus.worker.signals import Signals

T = TypeVar("T")

_handler_logger = logging.getLogger("isthmus.worker.handler")


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the task to each record: as fields for machines, as a prefix for people."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:  # noqa: ANN401
        """Return the message with the operation in front, and its fields as extra."""
        fields = dict(self.extra or {})
        kwargs["extra"] = {**fields, **(kwargs.get("extra") or {})}
        return f"[{fields['operation_id']}] {msg}", kwargs


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """The task that runs, as its verified request describes it."""

    caller_namespace: NamespaceName
    """The namespace whose key signed the request."""
    caller_principal: str
    """Who of that namespace called, as its signed header says.

    That it is the one whose credential called is checked by the gateway alone. Any key of the namespace signs
    any name: whoever has its keyring, and a gateway that lets it pass, can claim to be any of its principals.
    """
    endpoint: str
    """Endpoint that the caller used."""
    service: str
    """Service of the operation."""
    operation: str
    """Name of the operation."""
    operation_id: str
    """Identity of the operation, ``op-…``: stable across attempts, so a key for deduplication."""
    labels: dict[str, str]
    """Clear attributes that the caller signed."""
    deadline: datetime
    """When the operation ends at the latest, whatever the handler does; aware, UTC."""
    attempt: int
    """Number of this delivery attempt, from 1."""
    task_queue: str
    """The queue that the task came from."""
    _reporter: Reporter = field(repr=False)
    _signals: Signals = field(repr=False)

    def signals(self) -> Signals:
        """Return the signals that the caller sends: ``async for`` in a coroutine, ``for`` in a thread.

        In order, each at least once: an attempt gets all signals of the operation again, from the first, so a
        handler that goes on from ``heartbeat_details`` has to remember how many it has heeded, or their ids.
        """
        return self._signals

    def heartbeat(self, details: object = None) -> Reported:
        """Say that the task runs, and how far it is: the next attempt gets the latest details.

        The details are sealed to this worker's own namespace, at most 56 KiB. Returns at once, in coroutines
        and threads alike. At most one report of a task is on its way, and one begins at most every
        ``heartbeat_interval`` of the worker; what comes meanwhile is merged, the latest details win. To know
        that nothing before this point is run again, ``await current().heartbeat(details).durable()`` (in a
        thread: ``.wait()``): that sends it at once and returns when it is on disk.

        If the task does not belong to this worker any more, its handler is canceled.

        Args:
            details: what the next attempt needs; None leaves the details as they are.

        Raises:
            PayloadConversionError: the details have a type that cannot be serialized.
            ReportTooLargeError: they are too large.
        """
        return self._reporter.heartbeat(details)

    def progress(self, value: object) -> Reported:
        """Tell the caller how far the task is: sealed to its namespace, the latest wins.

        The value is whatever the teams agreed on, at most 56 KiB: a number, or a dataclass with a sentence.
        Returns at once and is throttled as ``heartbeat`` is; it counts as a sign of life, too. It moves none
        of the operation's deadlines, and the caller may never look.

        Raises:
            PayloadConversionError: the value has a type that cannot be serialized.
            ReportTooLargeError: it is too large.
        """
        return self._reporter.progress(value)

    @property
    def heartbeat_details(self) -> Any:  # noqa: ANN401 - whatever was reported
        """What the last attempt that reported details reported; None if none did.

        JSON values come as dictionaries, lists, text and numbers; ``heartbeat_details_as`` knows types.
        """
        return self._reporter.details_as(Any)

    def heartbeat_details_as(self, as_type: type[T]) -> T | None:
        """Return what the last attempt reported as a type; None if there is nothing.

        Raises:
            PayloadConversionError: they are not of that type.
        """
        value: T | None = self._reporter.details_as(as_type)
        return value

    @property
    def logger(self) -> TaskLogger:
        """A logger that adds operation, endpoint, caller and attempt to each record."""
        return TaskLogger(
            _handler_logger,
            {
                "operation_id": self.operation_id,
                "endpoint": self.endpoint,
                "caller_namespace": self.caller_namespace,
                "attempt": self.attempt,
            },
        )


class _Entered:
    """A task that runs: most handlers never ask for its context, so it is made when one does."""

    __slots__ = ("_context", "_make")

    def __init__(self, make: Callable[[], TaskContext]) -> None:
        self._make = make
        self._context: TaskContext | None = None

    def context(self) -> TaskContext:
        if self._context is None:
            self._context = self._make()
        return self._context


_current: ContextVar[_Entered] = ContextVar("isthmus_worker_task")


def current() -> TaskContext:
    """Return the task that the calling handler runs, in coroutines and in the worker's threads alike.

    Raises:
        NotInTaskError: outside of a handler, in a thread that was started by hand, or on another worker.
    """
    try:
        return _current.get().context()
    except LookupError:
        raise NotInTaskError(
            "isthmus.worker.current() works inside an operation handler that an Isthmus worker runs. In a "
            "thread that the handler starts itself, pass the context on: contextvars.copy_context().run(…)."
        ) from None


def enter(make: Callable[[], TaskContext]) -> None:
    """Make a task the current one, for the rest of the asyncio task that calls this."""
    _current.set(_Entered(make))
