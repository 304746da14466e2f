"""The program ``isthmus`` for the shell of a test: as the installed one, but forked; see ``forking``."""

import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from tests.forking import fork

_PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
asked = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(asked)
    with server.makefile() as said:
        process = int(said.readline())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os.kill(process, number))
        sys.exit(int(said.readline()))
"""
INSTALLED_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
"""The PATH of a terminal in which the virtual environment is active."""
_HEAD_BYTES = 8
_SIGNALED = 128


@contextmanager
def typed_commands() -> Generator[str]:
    """Serve the commands of shells for the length of the block; return the PATH that they need."""
    # Not in a folder of the test: addresses of sockets are short.
    with tempfile.TemporaryDirectory() as programs, socket.socket(socket.AF_UNIX) as listener:
        address = f"{programs}/socket"
        program = Path(programs) / "isthmus"
        program.write_text(_PROGRAM.format(python=sys.executable, address=address))
        program.chmod(0o755)
        listener.bind(address)
        listener.listen()
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        try:
            yield os.pathsep.join([programs, INSTALLED_PATH])
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        head, streams, _, _ = socket.recv_fds(connection, _HEAD_BYTES, 3)
        with connection.makefile("rb") as said:
            words, environment, folder = json.loads(said.read(int.from_bytes(head, "big")))
        process = fork(
            ["isthmus.cli", *words],
            environment=environment,
            folder=Path(folder),
            streams=(Connection(streams[0]), Connection(streams[1]), Connection(streams[2])),
            is_in_path=False,
        )
        connection.sendall(f"{process.pid}\n".encode())
        process.join()
        code = process.exitcode or 0
        connection.sendall(f"{code if code >= 0 else _SIGNALED - code}\n".encode())
