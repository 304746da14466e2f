"""Runs a gateway from its configuration file, as a process of its own."""

import os
import sys
from pathlib import Path

from isthmus.gateway.config.loading import load_config
from isthmus.gateway.process import run_process

if __name__ == "__main__":
    run_process(load_config(Path(sys.argv[1]), os.environ))
