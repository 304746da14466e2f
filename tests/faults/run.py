"""Inflicts faults for as long as one likes; prints JSON: ``python -m tests.faults.run --seconds 3600``.

Each store has its time and its report, which is printed as soon as that time is over.
"""

import argparse
import dataclasses
import json
import logging
import secrets
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.harness import FaultRun, Report
from tests.faults.postgresql_under_test import PostgresqlUnderTest
from tests.faults.stores import SqliteUnderTest, StoreUnderTest

SECONDS = 600.0
STORES = ("sqlite", "postgresql")


def store_under_test(name: str, folder: Path) -> StoreUnderTest:
    """Return the store of a run in a folder."""
    if name == "postgresql":
        return PostgresqlUnderTest()
    return SqliteUnderTest(folder / "gateway-0" / "data" / "isthmus.db")


def run(folder: Path, store_name: str, *, seed: int, seconds: float) -> Report:
    """Run on an empty folder."""
    store = store_under_test(store_name, folder)
    try:
        return FaultRun(folder, store, seed=seed).run(seconds)
    finally:
        store.close()


def main() -> int:
    """Run as the command line says; return 1 if something was found."""
    parser = argparse.ArgumentParser(description="Inflict faults on real processes, and check them.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long faults go on on each store")
    parser.add_argument("--store", choices=STORES, default=None, help="only on this one")
    parser.add_argument("--seed", type=int, default=None, help="repeat the faults of an earlier run")
    parser.add_argument("--keep", type=Path, default=None, help="a folder for journals, logs and stores")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    seed = secrets.randbelow(2**32) if arguments.seed is None else arguments.seed
    logging.getLogger(__name__).info("seed %d", seed)
    has_findings = False
    for store_name in STORES if arguments.store is None else (arguments.store,):
        with _folder(arguments.keep, store_name) as folder:
            report = run(folder, store_name, seed=seed, seconds=arguments.seconds)
        values = dataclasses.asdict(report) | {"findings": [str(finding) for finding in report.findings]}
        sys.stdout.write(json.dumps(values, indent=2) + "\n")
        sys.stdout.flush()
        has_findings |= bool(report.findings)
    return 1 if has_findings else 0


@contextmanager
def _folder(keep: Path | None, store_name: str) -> Generator[Path]:
    """Yield a folder for the run on a store: one to keep, or one that is deleted afterwards."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="isthmus-faults-") as folder:
            yield Path(folder)
    else:
        kept = keep.resolve() / store_name
        kept.mkdir(parents=True, exist_ok=True)
        yield kept


if __name__ == "__main__":
    sys.exit(main())
