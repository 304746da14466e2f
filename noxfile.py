"""Every check of the project: `nox` runs those that gate a change, `nox -s NAME` one of them.

The sessions run the tools of the environment that nox itself lives in (`pip install -e '.[dev]'`) and make
none of their own, so that what an editor shows is what these report.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
# Tests start hundreds of processes: each would compile what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"

# More processes than a small machine has cores: tests that start real processes mostly wait for them.
# By file, because what a file sets up for all of its tests is dear. The longest are in the first files.
IN_PARALLEL = ("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder")

_ON_EACH = [["--store", "sqlite"], ["--store", "postgresql"]]
STORES_OF_BENCHMARKS = {
    "operations": [["--store", "sqlite,postgresql"]],
    "bench_store": _ON_EACH,
    "bench_peers": _ON_EACH,
}

nox.needs_version = ">=2026.2.9"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "proto", "breaking", "tests", "wheel"]
nox.options.error_on_external_run = False


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, who may import whom, and the style of the wire contract."""
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")
    session.run("buf", "lint")
    session.run("buf", "format", "--diff", "--exit-code")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, strict, side by side."""
    with subprocess.Popen([str(BIN / "mypy")]) as mypy:  # noqa: S603 - as fixed as it looks
        session.run("basedpyright", "--pythonpath", sys.executable)
    if mypy.returncode:
        session.error("mypy found something")


@nox.session
def proto(session: nox.Session) -> None:
    """The committed code of proto/gen is what dev/generate-proto makes of proto/isthmus."""
    session.run(sys.executable, "dev/generate-proto", "--check")


@nox.session
def breaking(session: nox.Session) -> None:
    """The wire contract breaks nobody who speaks the newest release (before the first one: branch main)."""
    base = _earlier_contract(session)
    if base is None:
        session.skip("no earlier wire contract in this clone to compare with")
    session.run("buf", "breaking", "--against", f".git#{base}")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; arguments after -- go to pytest (-n0: one process, for debuggers)."""
    session.run("pytest", *IN_PARALLEL, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """All tests, and which lines they run, also in the processes that they start; slower."""
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *IN_PARALLEL, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def faults(session: nox.Session) -> None:
    """Inflict faults on real processes, ten minutes on each store; -- --seconds 3600 --seed 7: see --help."""
    session.run(sys.executable, "-m", "tests.faults.run", *session.posargs)


@nox.session
def rotation(session: nox.Session) -> None:
    """Rotate keys under load, a hundred times with pauses, and print what was measured."""
    longer = {"ROTATIONS": "100", "ROTATION_RATE": "200", "ROTATION_PAUSE": "3"}
    session.run("pytest", "-s", "tests/acceptance/test_rotation_under_load.py", *session.posargs, env=longer)


@nox.session
def model(session: nox.Session) -> None:
    """Compare the life of operations with a model, 100,000 steps on each kind of store."""
    session.run(
        *("pytest", "-q", "tests/contract/test_life_of_operations.py", *session.posargs),
        env={"ISTHMUS_MODEL_STEPS": "100000"},
    )


@nox.session
def adversary(session: nox.Session) -> None:
    """Let a gateway cheat real clients and workers, 100,000 steps; then remove their checks one by one."""
    session.run(
        *("pytest", "-q", "tests/adversarial/test_cheating_gateway.py", *session.posargs),
        env={"ISTHMUS_ADVERSARY_STEPS": "100000"},
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, or those whose names follow --; they print JSON, that with peers a table.

    What can run on either kind of store runs on both.
    """
    available = sorted((ROOT / "tests" / "benchmarks").glob("*.py"))
    chosen = [path for path in available if not session.posargs or path.stem in session.posargs]
    if not chosen:
        session.skip("no such benchmark in tests/benchmarks")
    for path in chosen:
        options = [] if path.stem == "bench_peers" else ["--json"]
        for store in STORES_OF_BENCHMARKS.get(path.stem, [[]]):
            session.run(sys.executable, "-m", f"tests.benchmarks.{path.stem}", *options, *store)


@nox.session
def wheel(session: nox.Session) -> None:
    """The sdist builds the wheel, and the wheel alone gives a light SDK that imports."""
    with tempfile.TemporaryDirectory() as scratch:
        session.run(sys.executable, "-m", "build", "--no-isolation", "--outdir", scratch, silent=True)
        (built,) = Path(scratch).glob("*.whl")
        session.run(sys.executable, "-m", "venv", f"{scratch}/venv")
        python = f"{scratch}/venv/bin/python"
        session.run(python, "-m", "pip", "install", "--quiet", str(built), silent=True)
        with session.chdir(scratch):
            session.run(python, str(ROOT / "dev" / "check-light-install"))


def _earlier_contract(session: nox.Session) -> str | None:
    """Return what buf compares with, as `tag=…` or `branch=…`; None where git has no earlier contract."""
    tags = _git(session, "tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").split()
    candidates = [f"tag={tag}" for tag in tags[:1]] or ["branch=main"]
    for candidate in candidates:
        name = candidate.partition("=")[2]
        if ".proto" in _git(session, "ls-tree", "-r", "--name-only", name, "--", "proto/isthmus"):
            return candidate
    return None


def _git(session: nox.Session, *arguments: str) -> str:
    """Return what git prints; nothing where there is no repository, or no such name in it."""
    output = session.run("git", *arguments, silent=True, success_codes=[0, 128], log=False)
    return output if isinstance(output, str) and not output.startswith("fatal:") else ""
