"""What the tests of blobs share."""

from pathlib import Path

import pytest
from tests.unit.blobs.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two teams and a folder."""
    return World(tmp_path)
