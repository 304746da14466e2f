"""One measurement: what to run, and what came of it, as the harness and the caller tell each other."""

import dataclasses
import json
from dataclasses import dataclass

PROCESSES = ("caller", "gateway", "worker")
DATABASE = "database"
"""A server of its own, where there is one and it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Run so many callers for so long, after a warm-up; ``pids`` as in PROCESSES, ``server`` the DATABASE."""

    concurrency: int
    warm_up_seconds: float
    seconds: float
    payload_bytes: int
    pids: tuple[int, ...]
    server: int | None = None

    def to_line(self) -> str:
        """Return it as a line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_line(cls, line: str) -> "Order":
        """Read a line."""
        values = json.loads(line)
        return cls(**values | {"pids": tuple(values["pids"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened between two moments while the callers were busy."""

    concurrency: int
    operations_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_operation: dict[str, float]
    steal_percent: float
    foreign_percent: float

    def to_line(self) -> str:
        """Return it as a line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_line(cls, line: str) -> "Window":
        """Read a line."""
        return cls(**json.loads(line))
