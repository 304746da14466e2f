"""Options of ``isthmus endpoint`` that say how operations flow when attempts fail."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.moment import parse_duration

if TYPE_CHECKING:
    from isthmus.v1 import endpoint_service_pb2

CircuitFailures = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Failed attempts in a row, of one caller or of all, after which attempts wait; 0: never.",
    ),
]
CircuitTime = Annotated[
    str | None,
    typer.Option(help="How long they wait before one finds out whether it works again.", metavar="TIME"),
]
Ramp = Annotated[
    list[str] | None,
    typer.Option(
        help="Operations of a hundred that go to workers of a version, for example v2=10; the others go to "
        "workers of versions that are not named. Repeatable.",
        metavar="VERSION=PERCENT",
    ),
]
PinVersions = Annotated[
    bool | None,
    typer.Option(
        "--pin-versions/--no-pin-versions",
        help="Whether attempts go to the version that began the operation while a worker of it is there.",
    ),
]
_DEFAULT_FAILURES = 10
_DEFAULT_OPEN_MS = 30_000


def fill_circuit(
    endpoint: "endpoint_service_pb2.Endpoint", failures: int | None, time: str | None
) -> list[str]:
    """Put what is given into an endpoint; return the paths of the fields that were."""
    if failures is None and time is None:
        return []
    if failures is not None:
        endpoint.circuit.failures = failures
        endpoint.circuit.off = failures == 0
    if time is not None:
        endpoint.circuit.open_ms = round(parse_duration(time).total_seconds() * 1000)
    return ["circuit"]


def fill_versions(
    endpoint: "endpoint_service_pb2.Endpoint", ramp: list[str] | None, pin: bool | None
) -> list[str]:
    """Put what is given into an endpoint; return the paths of the fields that were."""
    if ramp is None and pin is None:
        return []
    if ramp is not None:
        del endpoint.versions.ramp[:]
        for text in ramp:
            version, _, percent = text.rpartition("=")
            if not (version and percent.isascii() and percent.isdecimal()):
                raise CliError(f"--ramp is VERSION=PERCENT, for example v2=10, not {text!r}")
            endpoint.versions.ramp.add(version=version, percent=int(percent))
    if pin is not None:
        endpoint.versions.pin = pin
    return ["versions"]


def readable_versions(settings: dict[str, Any] | None) -> list[str]:
    """Return what an endpoint says of versions as phrases."""
    settings = settings or {}
    ramp = [f"{share['percent']} % to {share['version']}" for share in settings.get("ramp") or ()]
    if ramp:
        ramp.append("what is left to versions that are not named")
    pinned = ["attempts stay with the version that began"] if settings.get("pin") else []
    return ramp + pinned or ["any worker gets any operation"]


def readable_circuit(settings: dict[str, Any] | None) -> str:
    """Return the settings of an endpoint's circuits as a phrase."""
    settings = settings or {}
    if settings.get("off"):
        return "off: attempts go on however many fail"
    failures = settings.get("failures") or _DEFAULT_FAILURES
    seconds = (settings.get("open_ms") or _DEFAULT_OPEN_MS) / 1000
    return f"after {failures} failures in a row attempts wait {seconds:g} s"


def readable_open_circuit(circuit: dict[str, Any]) -> str:
    """Return an open circuit as a phrase."""
    from isthmus.cli.output import show

    whose = circuit["caller_namespace"] or "every caller"
    ends = "a probe is on its way" if circuit["probing"] else f"a probe goes out at {show(circuit['until'])}"
    return (
        f"{whose} on task queue {circuit['task_queue']} since {show(circuit['since'])} "
        f"({circuit['error_type']}); {ends}"
    )
