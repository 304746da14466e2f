"""What a waiting command says."""

from isthmus.cli.waiting import MAX_PROGRESS_CHARS, REPEAT_SECONDS, WaitingLines, progress_text


def test_line_is_repeated_when_a_minute_has_passed() -> None:
    """A log that stands still looks like a process that hangs."""
    now = 0.0
    written: list[str] = []
    lines = WaitingLines(written.append, monotonic=lambda: now)
    for now, text in ((0.0, "a"), (2.0, "a"), (4.0, "b"), (6.0, "b"), (REPEAT_SECONDS + 4.0, "b")):  # noqa: B007
        lines.update(text)
    assert written == ["a\n", "b\n", "b\n"]


def test_progress_is_one_harmless_line_when_another_team_wrote_it() -> None:
    """It moves no cursor, and it does not fill the screen."""
    assert progress_text({"done": 3, "of": 10}) == '{"done": 3, "of": 10}'
    assert progress_text("half\nway \x1b[2J") == "half way \N{REPLACEMENT CHARACTER}[2J"
    assert len(progress_text("x" * 1000)) == MAX_PROGRESS_CHARS
