"""Methods of an operation handler that take signals to an operation which it left running."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast, overload

from nexusrpc.handler import OperationHandler

from isthmus.worker.signals import Signal

MethodT = TypeVar("MethodT", bound=Callable[..., Any])
_MARK = "__isthmus_signal__"
ANY_NAME = "*"


class _Marking(Protocol):
    def __call__(self, method: MethodT, /) -> MethodT:
        """Mark a method."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalContext:
    """What a signal handler is called with, besides the value: all of it verified."""

    signal: Signal
    """The signal; its ``id`` is the same whenever it is delivered again."""
    token: str = field(repr=False)
    """The operation token that the start returned."""
    service: str
    operation: str
    operation_id: str
    """``op-…``: what the operation is completed by."""
    caller_namespace: str


@overload
def signal_handler(method: MethodT, /) -> MethodT: ...


@overload
def signal_handler(*, name: str | None = None) -> "_Marking": ...


def signal_handler(method: Any = None, /, *, name: str | None = None) -> Any:
    """Mark a method of an ``OperationHandler`` that takes signals to an operation which it left running.

    ::

        class Transfer(OperationHandler[Order, Receipt]):
            async def start(self, ctx, order): ...  # returns StartOperationResultAsync(token)

            @signal_handler
            async def approve(self, ctx: SignalContext, approval: Approval) -> None: ...

    The method may be ``async def`` or ``def`` (then it runs in a thread). Its second parameter, if it is
    annotated, says what the value is. A retryable error delivers the signal again after a while; any other
    drops it, and the next one follows. Signals come one after the other, in order, each at least once, all
    from the first: those that came before the start returned, too.

    Args:
        method: the method.
        name: of the signal; by default the method's. ``"*"`` takes those that have no method of their own.
    """

    def mark(method: MethodT) -> MethodT:
        setattr(method, _MARK, name or method.__name__)
        return method

    return mark if method is None else mark(method)


class SignalMethods:
    """The signal handlers of one operation handler."""

    def __init__(self, operation: OperationHandler[Any, Any]) -> None:
        self._methods: dict[str, Callable[..., Any]] = {}
        for attribute in dir(type(operation)):
            function = getattr(type(operation), attribute)
            name = getattr(function, _MARK, None)
            if name is not None:
                self._methods[name] = getattr(operation, attribute)

    def of(self, name: str) -> Callable[..., Any] | None:
        """Return the method that takes a signal, None if there is none."""
        return self._methods.get(name) or self._methods.get(ANY_NAME)


def value_for(method: Callable[..., Any], signal: Signal) -> Any:  # noqa: ANN401 - what the method takes
    """Return the value of a signal as its method takes it. Raises PayloadConversionError."""
    parameters = list(inspect.signature(method).parameters)
    hints = typing.get_type_hints(method)
    as_type = hints.get(parameters[1], Any) if len(parameters) > 1 else Any
    return signal.value_as(cast("type[Any]", as_type))
