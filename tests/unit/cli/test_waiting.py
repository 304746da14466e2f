"""What a waiting command says."""

from isthmus.cli.waiting import REPEAT_SECONDS, WaitingLines


def test_line_is_repeated_when_a_minute_has_passed() -> None:
    """A log that stands still looks like a process that hangs."""
    now = 0.0
    written: list[str] = []
    lines = WaitingLines(written.append, monotonic=lambda: now)
    for now, text in ((0.0, "a"), (2.0, "a"), (4.0, "b"), (6.0, "b"), (REPEAT_SECONDS + 4.0, "b")):  # noqa: B007
        lines.update(text)
    assert written == ["a\n", "b\n", "b\n"]
