"""A token of SoftHSM 2: a real PKCS #11 module whose hardware is a folder."""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pkcs11
import pytest
from tests.missing import missing

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "isthmus"
PIN = "pin-of-the-tests-4711"
_PLACES = (
    (Path("/"), "usr/lib*/softhsm/libsofthsm2.so"),
    (Path("/"), "usr/lib/*/softhsm/libsofthsm2.so"),
    (Path("/"), "usr/local/lib/softhsm/libsofthsm2.so"),
    # What dev/fetch-softhsm unpacks.
    (ROOT / ".cache/softhsm", "usr/lib/*/softhsm/libsofthsm2.so"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftHsm:
    """The module and its one token."""

    module: Path

    def make_key(self, label: str) -> None:
        """Make an AES key that does not leave the token."""
        with self._session() as session:
            session.generate_key(pkcs11.KeyType.AES, 256, label=label, store=True)

    def destroy_key(self, label: str) -> None:
        """Destroy it."""
        with self._session() as session:
            session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=label).destroy()

    def _session(self) -> pkcs11.Session:
        return pkcs11.lib(str(self.module)).get_token(token_label=TOKEN).open(rw=True, user_pin=PIN)


@contextmanager
def softhsm(folder: Path) -> Generator[SoftHsm]:
    """Yield a fresh token; skips the test, by name of what is missing, where there is no SoftHSM.

    A process loads the module once, and it reads its configuration then: one token a process.
    """
    module, tool = _find()
    configuration = folder / "softhsm2.conf"
    (folder / "tokens").mkdir()
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOFTHSM2_CONF", str(configuration))
        subprocess.run(
            [
                *(tool, "--module", module, "--init-token", "--free", "--label", TOKEN),
                *("--so-pin", "of-the-officer", "--pin", PIN),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        yield SoftHsm(module=module)


def _find() -> tuple[Path, str]:
    for root, pattern in _PLACES:
        for module in sorted(root.glob(pattern)):
            beside = root / "usr/bin/softhsm2-util"
            tool = str(beside) if beside.exists() else shutil.which("softhsm2-util")
            if tool is not None and os.access(module, os.R_OK):
                return module, tool
    raise missing("SoftHSM 2 is missing (dev/fetch-softhsm, or Debian: apt-get install softhsm2)")
