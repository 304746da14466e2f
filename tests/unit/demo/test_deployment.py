"""What a deployment on one machine consists of."""

import os
from pathlib import Path

from isthmus.client import load_profile
from isthmus.demo.deployment import TEAMS, write_deployment


def test_profiles_are_usable_when_the_umask_lets_a_group_write(tmp_path: Path) -> None:
    """As it does where everybody has a group of their own."""
    before = os.umask(0o002)
    try:
        deployment = write_deployment(tmp_path, port=7243, lease_seconds=30)
    finally:
        os.umask(before)
    environment = {"ISTHMUS_CONFIG": str(deployment.profiles)}
    assert load_profile(TEAMS[0], environment=environment).namespace == TEAMS[0]
