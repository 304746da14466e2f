"""Runs a gateway from its configuration file, as a process of its own."""

import asyncio
import os
import sys
from pathlib import Path

from isthmus.gateway import process
from isthmus.gateway.config.loading import load_config

if __name__ == "__main__":
    asyncio.run(process.run(load_config(Path(sys.argv[1]), os.environ)))
