"""A process that takes or restores a backup, for tests that kill it.

``python -m tests.integration.backup_process take|restore DATA_DIR BACKUP [traced]``

``traced``: it begins when it was told a line, and any process may trace it by then.
"""

import ctypes
import sys
from datetime import UTC, datetime
from pathlib import Path

from isthmus.gateway.backups.restore import restore_backup
from isthmus.gateway.backups.take import take_backup
from isthmus.gateway.config.settings import GatewayConfig

TAKEN_AT = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)
TRUST_DOMAIN = "backups.test"


def config_of(data_dir: Path) -> GatewayConfig:
    """Return the configuration of a gateway that keeps everything in one folder."""
    return GatewayConfig(trust_domain=TRUST_DOMAIN, data_dir=data_dir)


# <linux/prctl.h>
_PR_SET_PTRACER = 0x59616D61
_ANY = ctypes.c_ulong(-1)


def main() -> None:
    """Do what is asked for."""
    what, data_dir, backup = sys.argv[1], config_of(Path(sys.argv[2])), Path(sys.argv[3])
    if sys.argv[4:] == ["traced"]:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
    if what == "take":
        take_backup(data_dir, backup, now=TAKEN_AT, software_version="1")
    else:
        restore_backup(data_dir, backup, now=TAKEN_AT)


if __name__ == "__main__":
    main()
