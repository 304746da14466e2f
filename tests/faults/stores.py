"""The kinds of store that a run can use: how a gateway is told, how it is read, and which faults it knows."""

from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine, create_engine
from tests.faults.plan import FaultKind


class StoreUnderTest(Protocol):
    """A store of a run."""

    name: str
    gateways: int
    """How many gateways serve on it."""

    @property
    def kinds(self) -> frozenset[FaultKind]:
        """The faults that make sense with it."""
        ...

    def config(self) -> str:
        """Return the lines of the gateway's configuration that name it."""
        ...

    def engine(self) -> Engine:
        """Return what reads it, and nothing else."""
        ...

    def stop(self) -> None:
        """Stop its server at once, as a crash would."""
        ...

    def start(self) -> None:
        """Start its server again, and return when it takes connections."""
        ...

    def close(self) -> None:
        """Leave nothing behind that runs."""
        ...


class SqliteUnderTest:
    """One file, one gateway."""

    name = "sqlite"
    gateways = 1

    def __init__(self, database: Path) -> None:
        self._database = database

    @property
    def kinds(self) -> frozenset[FaultKind]:
        """Everything but a server that is stopped: it has none."""
        return frozenset(FaultKind) - {FaultKind.RESTART_DATABASE}

    def config(self) -> str:
        """Return nothing: it is the default."""
        return ""

    def engine(self) -> Engine:
        """Return what reads the file."""
        return create_engine(f"sqlite:///file:{self._database}?mode=ro&uri=true&timeout=10")

    def stop(self) -> None:
        """There is no server."""
        raise NotImplementedError

    def start(self) -> None:
        """There is no server."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing runs."""
