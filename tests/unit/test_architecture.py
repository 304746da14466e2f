"""The shape of the source tree: the import contracts hold, they bite, and the layout rules are kept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = ("gateway", "endpoints", "policies", "sdk")
ROOTS_WITH_GENERATED = (*SOURCE_ROOTS, "proto/gen")
MOST_LINES = 500
EMPTY_NAMES = {"base", "common", "helper", "helpers", "misc", "util", "utils"}
# Portions of the SDK that start a gateway, and therefore import it.
STARTS_A_GATEWAY = {"isthmus.testing", "isthmus.cli", "isthmus.demo"}


class Violation(NamedTuple):
    """A line planted into a module, and the contract that has to break for it."""

    contract: str
    module: str
    line: str


VIOLATIONS = {
    "gateway_opens_envelopes": Violation(
        "The gateway imports isthmus.wire", "gateway/isthmus/gateway/__init__.py", "import isthmus.envelope"
    ),
    "policies_read_keys": Violation(
        "The gateway imports isthmus.wire", "policies/isthmus/policies/__init__.py", "import isthmus.keys"
    ),
    "client_imports_gateway": Violation(
        "The SDK imports nothing of the gateway",
        "sdk/isthmus/client/__init__.py",
        "import isthmus.gateway.core",
    ),
    "core_imports_database": Violation(
        "The domain imports no transport", "gateway/isthmus/gateway/core/__init__.py", "import sqlalchemy"
    ),
    "commands_import_protobuf": Violation(
        "The domain imports no transport",
        "gateway/isthmus/gateway/commands/__init__.py",
        "from google.protobuf import message",
    ),
    "ports_import_generated_code": Violation(
        "The domain imports no transport", "gateway/isthmus/gateway/ports/store.py", "import isthmus.v1"
    ),
    "endpoints_import_grpc": Violation(
        "The domain imports no transport", "endpoints/isthmus/endpoints/__init__.py", "import grpc.aio"
    ),
    "core_imports_commands": Violation(
        "Layers of the gateway", "gateway/isthmus/gateway/core/__init__.py", "import isthmus.gateway.commands"
    ),
    "wire_imports_client": Violation(
        "Layers of the SDK", "sdk/isthmus/wire/__init__.py", "import isthmus.client"
    ),
    "worker_imports_client": Violation(
        "Layers of the SDK", "sdk/isthmus/worker/__init__.py", "import isthmus.client"
    ),
}


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the source roots of `tree`."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(tree / root) for root in ROOTS_WITH_GENERATED),
        "COLUMNS": "400",
    }
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=tree,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )


def modules() -> list[Path]:
    """Return every module that is written by hand, relative to the repository."""
    return sorted(
        path.relative_to(ROOT) for root in SOURCE_ROOTS for path in (ROOT / root / "isthmus").rglob("*.py")
    )


def portions(*roots: str) -> set[str]:
    """Return the packages that the given source roots add to the namespace."""
    return {
        f"isthmus.{path.parent.name}"
        for root in roots
        for path in (ROOT / root).glob("isthmus/*/__init__.py")
    }


def import_contracts() -> dict[str, dict[str, list[str]]]:
    """Return the import contracts of pyproject.toml by id."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"]: contract for contract in pyproject["tool"]["importlinter"]["contracts"]}


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """A copy of everything that import-linter reads, free to be spoiled."""
    for root in ROOTS_WITH_GENERATED:
        shutil.copytree(
            ROOT / root / "isthmus",
            tmp_path / root / "isthmus",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_import_contracts_hold() -> None:
    """The tree as it stands breaks no import contract."""
    finished = lint_imports(ROOT)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("violation", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_import_contract_breaks_when_violation_is_planted(copied_tree: Path, violation: Violation) -> None:
    """A forbidden import is found, and under the contract that forbids it."""
    module = copied_tree / violation.module
    module.write_text(f"{module.read_text(encoding='utf-8')}\n{violation.line}\n", encoding="utf-8")
    finished = lint_imports(copied_tree)
    broken = [line for line in finished.stdout.splitlines() if line.endswith("BROKEN")]
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert any(line.startswith(violation.contract) for line in broken), finished.stdout


def test_every_portion_is_covered_when_it_joins_the_namespace() -> None:
    """A new package chooses its place in pyproject.toml: among the roots, and in the contracts."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sdk = portions("sdk")
    contracts = import_contracts()
    assert set(pyproject["tool"]["importlinter"]["root_packages"]) == portions(*ROOTS_WITH_GENERATED)
    assert set(contracts["blind-gateway"]["forbidden_modules"]) == sdk - {"isthmus.wire"}
    assert set(contracts["light-sdk"]["source_modules"]) == (sdk - STARTS_A_GATEWAY) | {"isthmus.v1"}
    in_layers = {name for layer in contracts["sdk-layers"]["layers"] for name in re.findall(r"[\w.]+", layer)}
    assert in_layers == sdk | {"isthmus.v1"}


@pytest.mark.parametrize("root", ROOTS_WITH_GENERATED)
def test_namespace_stays_open_when_a_source_root_adds_to_it(root: str) -> None:
    """No root has an isthmus/__init__.py: it would hide the portions of the others."""
    assert not (ROOT / root / "isthmus" / "__init__.py").exists()


def test_every_portion_is_typed_when_installed() -> None:
    """Each package ships py.typed, or type checkers ignore its annotations."""
    untyped = [
        str(path.parent.relative_to(ROOT))
        for root in ROOTS_WITH_GENERATED
        for path in (ROOT / root).glob("isthmus/*/__init__.py")
        if not (path.parent / "py.typed").exists()
    ]
    assert untyped == []


def test_modules_are_short_when_counted() -> None:
    """One idea a module: none is longer than 500 lines."""
    too_long = {
        str(module): lines
        for module in modules()
        if (lines := len((ROOT / module).read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert too_long == {}


def test_modules_are_named_after_their_idea_when_listed() -> None:
    """No module or package has a name that says nothing."""
    assert [str(module) for module in modules() if EMPTY_NAMES & set(module.with_suffix("").parts)] == []
