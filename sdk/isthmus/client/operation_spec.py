"""Which operation is meant, and what goes in and comes out of it."""

from dataclasses import dataclass
from typing import Any, Final

import nexusrpc

from isthmus.transport.errors import ConfigurationError

MOST_KNOWN: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationSpec:
    """A callable operation of an endpoint."""

    endpoint: str
    service: str
    operation: str
    input_type: object = Any
    output_type: object = Any


def service_name(service: object) -> str:
    """Return the name of a service: a nexusrpc service or service handler class, or the name itself.

    Raises:
        ConfigurationError: it is none of these.
    """
    return service if isinstance(service, str) else _definition_of(service).name


def _definition_of(service: object) -> nexusrpc.ServiceDefinition:
    definition = nexusrpc.get_service_definition(service)
    if definition is None:
        raise ConfigurationError(
            f"{service!r} is no service: pass a class decorated with @nexusrpc.service, or a name"
        )
    return definition


def resolve_operation(endpoint: str, service: object, operation: object) -> OperationSpec:
    """Return what is meant by an Operation attribute, a handler method, or a name.

    Raises:
        ConfigurationError: the service has no such operation.
    """
    definition: nexusrpc.ServiceDefinition | None = None
    if isinstance(service, str):
        name = service
    else:
        definition = _definition_of(service)
        name = definition.name
    found: nexusrpc.Operation[Any, Any] | nexusrpc.OperationDefinition[Any, Any] | None
    if isinstance(operation, str):
        if definition is None:
            return OperationSpec(endpoint=endpoint, service=name, operation=operation)
        found = _by_name(definition, operation)
    elif isinstance(operation, (nexusrpc.Operation, nexusrpc.OperationDefinition)):
        found = operation
    else:
        found = nexusrpc.get_operation(operation)
    if found is None:
        raise ConfigurationError(
            f"{operation!r} is no operation of {name}: pass an attribute of the service, or a name"
        )
    if definition is not None and found.name not in definition.operation_definitions:
        raise ConfigurationError(f"the service {name} has no operation {found.name!r}")
    return OperationSpec(
        endpoint=endpoint,
        service=name,
        operation=found.name,
        input_type=Any if found.input_type is None else found.input_type,
        output_type=Any if found.output_type is None else found.output_type,
    )


class OperationSpecs:
    """What the operations of one service at one endpoint are, each resolved once."""

    def __init__(self, endpoint: str, service: object) -> None:
        self._endpoint = endpoint
        self._service = service
        # By identity: operations are not hashable. The operation beside its spec keeps the identity its own.
        self._known: dict[int, tuple[object, OperationSpec]] = {}

    def of(self, operation: object) -> OperationSpec:
        """Return what is meant, as ``resolve_operation``, with its errors."""
        known = self._known.get(id(operation))
        if known is not None:
            return known[1]
        spec = resolve_operation(self._endpoint, self._service, operation)
        if len(self._known) < MOST_KNOWN:
            self._known[id(operation)] = operation, spec
        return spec


def _by_name(
    definition: nexusrpc.ServiceDefinition, name: str
) -> nexusrpc.OperationDefinition[Any, Any] | None:
    by_name = definition.operation_definitions.get(name)
    if by_name is not None:
        return by_name
    return next(
        (found for found in definition.operation_definitions.values() if found.method_name == name), None
    )
