"""One gateway process for everything that abuses a gateway: it has to survive all of it, not only each."""

from collections.abc import Iterator

import pytest
from tests.adversarial.victim import Victim, start_victim


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A gateway in a process of its own, with two teams."""
    running = start_victim(tmp_path_factory.mktemp("victim"))
    yield running
    running.process.kill()
