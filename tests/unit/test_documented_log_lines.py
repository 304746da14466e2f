"""What the on-call pages say that the log says, the code can say."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gateway.md"
SOURCES = ROOT / "gateway" / "isthmus"


def said() -> str:
    """Return every text in the code of the gateway, in one."""
    texts = [
        node.value
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return re.sub(r"%\w", "…", "\n".join(texts))


def test_log_line_exists_when_the_page_about_trouble_names_it() -> None:
    """Who searches the page for a line at night finds it."""
    (section,) = re.findall(
        r"## When a gateway is in trouble\n(.*?)\n## ", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    lines = [line for row in rows for line in re.findall(r"`([^`]+)`", row)]
    assert len(lines) > 15
    there = said()
    for line in lines:
        # The parts that are the same each time; what is in place of the dots is not.
        for part in re.split(r"…|\(…\)", line):
            words = part.strip(" :()")
            name, is_ready = re.subn(r"^the gateway is (.*): .*", r"\1", words)
            assert (name if is_ready else words) in there, line
