"""What one run of the command line was told before its command: which profile, which output."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from isthmus.cli.output import Output

if TYPE_CHECKING:
    from isthmus.client.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The options of the root."""

    profile: str | None
    config: Path | None
    output: Output

    @property
    def environment(self) -> Mapping[str, str]:
        """The process's environment, with what the options say on top."""
        chosen = dict(os.environ)
        if self.profile is not None:
            chosen["ISTHMUS_PROFILE"] = self.profile
        if self.config is not None:
            chosen["ISTHMUS_CONFIG"] = str(self.config)
        return chosen

    def load_profile(self) -> "Profile":
        """Return the settings to use. Raises ConfigurationError."""
        from isthmus.client.profile import load_profile

        return load_profile(environment=self.environment)


def invocation(ctx: typer.Context) -> Invocation:
    """Return the options of the root, from anywhere in the tree."""
    found = ctx.find_object(Invocation)
    if found is None:
        raise AssertionError("the root's callback runs before every command")
    return found
