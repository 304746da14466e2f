"""Entries of an endpoint's allow list as people write them: ``data-team``, ``data-team/Payments/charge``."""

from isthmus.cli.exit_code import CliError
from isthmus.v1 import endpoint_service_pb2
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import check_namespace, check_service

_PARTS = 3


def parse_allow_rule(text: str) -> endpoint_service_pb2.AllowRule:
    """Read ``namespace[/service[/operation]]``; ``*`` stands for each one. Raises CliError."""
    parts = text.split("/", _PARTS - 1)
    try:
        rule = endpoint_service_pb2.AllowRule(namespace=check_namespace(parts[0]))
        if len(parts) > 1 and parts[1] != "*":
            rule.service = check_service(parts[1])
        if len(parts) == _PARTS and parts[2] != "*":
            rule.operation = check_service(parts[2], "operation")
    except WireFormatError as error:
        raise CliError(f"--allow {text!r}: {error}; write namespace[/service[/operation]]") from None
    # Operations of other worlds have slashes in their names; none ends with one.
    if text.endswith("/"):
        raise CliError(f"--allow {text!r} ends with a slash; write namespace[/service[/operation]]")
    return rule


def show_allow_rule(rule: endpoint_service_pb2.AllowRule) -> str:
    """Return a rule as parse_allow_rule reads it."""
    if rule.operation:
        return f"{rule.namespace}/{rule.service or '*'}/{rule.operation}"
    return f"{rule.namespace}/{rule.service}" if rule.service else rule.namespace
