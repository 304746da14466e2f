"""Runs a gateway from its configuration file, on a machine whose clock a file beside it moves."""

import os
import sys
from pathlib import Path

from tests.faults.moved_clock import surroundings_of

from isthmus.gateway.config.loading import load_config
from isthmus.gateway.process import run_process

CLOCK_FILE = "clock"

if __name__ == "__main__":
    config_file = Path(sys.argv[1])
    run_process(
        load_config(config_file, os.environ), surroundings=surroundings_of(config_file.parent / CLOCK_FILE)
    )
