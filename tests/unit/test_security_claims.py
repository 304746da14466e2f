"""The tests that docs/security.md names for its claims exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`([a-z0-9_/]+\.py)::(test_\w+)`")


def test_every_claim_has_its_test_when_the_page_names_one() -> None:
    """A test that was renamed or removed takes its claim along, or the page says so."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = page.partition("## Claims and their tests")[2].strip().splitlines()
    claims = [row for row in rows if row.startswith("|")][2:]
    assert len(claims) > 15
    assert [row for row in claims if not NAMED.search(row) and not row.endswith("| none |")] == []
    missing = {
        f"{file}::{test}"
        for file, test in NAMED.findall(page)
        if not (ROOT / "tests" / file).is_file() or test not in _functions(ROOT / "tests" / file)
    }
    assert missing == set()


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
