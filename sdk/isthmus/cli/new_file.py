"""Files that a command makes: never over another one."""

from pathlib import Path

from isthmus.cli.exit_code import CliError, ExitCode


def refuse_existing(path: Path) -> None:
    """Raise CliError when there is such a file."""
    if path.exists():
        raise CliError(
            f"there is one already: {path}; nothing is overwritten: name another file, or move this one away",
            code=ExitCode.CONFLICT,
        )
