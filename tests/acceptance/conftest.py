"""What acceptance tests share."""

from collections.abc import Iterator

import pytest
from tests.acceptance.deployment.process import clean_environment
from tests.acceptance.deployment.typed_commands import INSTALLED_PATH, typed_commands

INSTALLED = pytest.mark.parametrize("environment", ["installed"], indirect=True)
"""Commands are those of the installed program, with all that their start takes."""


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a terminal in which ``isthmus`` can be typed, and nothing is set."""
    if getattr(request, "param", "") == "installed":
        yield clean_environment() | {"PATH": INSTALLED_PATH}
        return
    with typed_commands() as path:
        yield clean_environment() | {"PATH": path}
