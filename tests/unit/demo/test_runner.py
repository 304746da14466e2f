"""What the demonstration looks at before it kills a worker."""

import json
from pathlib import Path

from isthmus.demo.deployment import Deployment
from isthmus.demo.runner import _Run


def write(journal: Path, event: str, count: int) -> None:
    """Write an event down so often."""
    with journal.open("a", encoding="utf-8") as file:
        for _ in range(count):
            file.write(json.dumps({"event": event}) + "\n")


def test_enough_is_under_way_when_only_the_last_batches_are_left(tmp_path: Path) -> None:
    """The worker may have sent more results before it was frozen than were written down by then."""
    run = _Run(Deployment(directory=tmp_path, port=1), watch=lambda _: None, batches=60)
    journal = tmp_path / "data-team.journal"
    write(journal, "started", 40)
    write(journal, "result", 30)
    assert not run._has_all_under_way()
    write(journal, "started", 20)
    assert run._has_all_under_way()
    write(journal, "result", 28)
    assert run._has_all_under_way()
