"""What is wrong with a configuration."""

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.gateway.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One option, what is wrong with it, and what would fix it."""

    option: str
    message: str
    fix: str

    def __str__(self) -> str:
        """The problem in one line, for people."""
        return f"{self.option}: {self.message}. {self.fix}"


def refuse(problems: Sequence[Problem]) -> None:
    """Raise ConfigurationError with every problem at once; do nothing when there is none."""
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigurationError(
            f"the configuration has {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n{lines}"
        )
