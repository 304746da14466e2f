"""Many starts at once: each is a start of its own, and has its own answer."""
# ruff: noqa: A002, ANN401 - parameters are named and typed as in temporalio and nexusrpc

from collections.abc import Iterable
from typing import Any, Unpack

from isthmus.client.interceptor import StartInput
from isthmus.client.operation_spec import OperationSpecs
from isthmus.client.request import StartKeywords, start_options


class Start:
    """What ``start_operation`` takes, for one of many: ``Start(Reports.make, "May", id="report-may")``.

    Args:
        operation: an attribute of the service, a method of a service handler, or a name.
        input: its input.
        **options: see StartOptions.
    """

    __slots__ = ("input", "operation", "options")

    def __init__(self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]) -> None:
        self.operation = operation
        self.input = input
        self.options = options


def start_inputs(specs: OperationSpecs, starts: Iterable[Start]) -> tuple[StartInput, ...]:
    """Return what the starts of a batch are. Raises ConfigurationError when one of them makes no sense."""
    return tuple(
        StartInput(
            spec=specs.of(start.operation),
            value=start.input,
            options=start_options(start.options, method="start_operations"),
        )
        for start in starts
    )
