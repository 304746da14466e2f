"""Runs a program of a deployment with the product's code of an earlier revision.

``python -m tests.acceptance.deployment.earlier_code FOLDER PROGRAM …``: the folder is made by
``earlier_sources``.
"""

import io
import runpy
import subprocess
import sys
import tarfile
from importlib import import_module
from pathlib import Path

# Not that of another module: it would import the product's code of this revision.
ROOT = Path(__file__).resolve().parents[3]
MODULE = "tests.acceptance.deployment.earlier_code"
_FOLDERS = ("gateway", "endpoints", "policies", "sdk", "proto/gen")


def earlier_sources(revision: str, folder: Path) -> bool:
    """Put the product's sources of a revision into a folder; False when git has no such revision here."""
    archive = subprocess.run(
        ["git", "archive", revision, *_FOLDERS],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        return False
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return True


def revision_that_added(path: str) -> str:
    """Return the commit that added a file; empty when git does not know."""
    log = subprocess.run(
        ["git", "log", "--diff-filter=A", "--format=%H", "-1", "--", path],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return log.stdout.strip()


def main() -> None:
    """Run the program, after a look that it really is that code."""
    folder, program = Path(sys.argv[1]), sys.argv[2]
    sys.path[:0] = [str(folder / name) for name in _FOLDERS]
    found = import_module("isthmus.gateway").__file__
    if found is None or not Path(found).is_relative_to(folder):
        raise SystemExit(f"isthmus.gateway is {found}")
    sys.argv[:] = [program, *sys.argv[3:]]
    runpy.run_module(program, run_name="__main__")


if __name__ == "__main__":
    main()
