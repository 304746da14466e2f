"""The contract between the demonstration's two teams: what both import, and nothing else of each other."""

from dataclasses import dataclass

import nexusrpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows that the data team prepared. Every value is text, as it was in the file."""

    number: int
    rows: list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What the application makes of one batch."""

    number: int
    rows: int
    groups: dict[str, int]
    """Rows by country; by the first column where there is none."""
    hubs: dict[str, int]
    """Rows by the hub airport that is nearest; empty for rows without coordinates."""
    distance_km: float
    """Sum of the great-circle distances to those hubs, kilometers."""
    unknown_timezones: int
    digest: str
    """SHA-256 over the rows as they arrived, hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place on Earth, degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The hub airport that is nearest to a position."""

    code: str
    distance_km: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnQuestion:
    """Which dataset the application wants to know about."""

    dataset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSummary:
    """One column of a dataset."""

    name: str
    filled: int
    distinct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """What the data team says about a dataset."""

    dataset: str
    rows: int
    columns: list[ColumnSummary]


@nexusrpc.service
class RoutePlanning:
    """Served by the application team, called by the data team."""

    place_batch: nexusrpc.Operation[Batch, BatchReport]
    find_hub: nexusrpc.Operation[Position, Hub]


@nexusrpc.service
class Datasets:
    """Served by the data team, called by the application team."""

    describe: nexusrpc.Operation[ColumnQuestion, DatasetSummary]
