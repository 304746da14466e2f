"""Sets up the log of a gateway process. A library that embeds a gateway leaves its own logging as it is."""

import logging
import sys

from isthmus.gateway.config.settings import LogSettings
from isthmus.gateway.log_lines import JsonLines, TextLines

_CHATTY = ("alembic", "asyncio", "grpc")
"""Loggers of libraries that say much about themselves and little about the gateway."""


def set_up_logging(settings: LogSettings) -> None:
    """Log to standard error, replacing what was set up before.

    ``auto`` writes text to a terminal and JSON lines to everything else.
    """
    text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if text else JsonLines())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
