"""A keyring that a container has mounted: of root, read-only, readable by the group of its reader."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.unit.keys.world import PASSPHRASE, make_keyring

from isthmus.keys import private_file
from isthmus.keys.errors import KeyringError
from isthmus.keys.file_keyring import FileKeyring

READER, GROUP = 4242, 4343
PROGRAM = """
import os, sys
from pathlib import Path
from isthmus.keys.file_keyring import FileKeyring
os.setgroups([]); os.setgid({group}); os.setuid({reader})
keyring = FileKeyring(Path(sys.argv[1]), b"correct horse")
print(keyring.namespace)
keyring.record_keyset(1, bytes(32))
"""


def read_as_other(folder: Path) -> subprocess.CompletedProcess[str]:
    """Open and change a keyring as a user who is not root."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(group=GROUP, reader=READER), str(folder / "keys.json")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's")
def test_keyring_opens_and_says_that_it_cannot_be_changed_when_it_is_mounted() -> None:
    """As Kubernetes mounts a secret: a link to a file of root:fsGroup with mode 0440."""
    # Not pytest's folder: nobody but root reaches into that.
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        make_keyring(folder / "real.json")
        os.chown(folder / "real.json", 0, GROUP)
        (folder / "real.json").chmod(0o440)
        (folder / "keys.json").symlink_to("real.json")
        finished = read_as_other(folder)
        assert finished.stdout == "app-team\n", finished.stderr
        assert "cannot be changed here, its folder is not writable" in finished.stderr
        for mode in (0o444, 0o460):
            (folder / "real.json").chmod(mode)
            assert "defaultMode 0440" in read_as_other(folder).stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_message_says_where_to_change_it_when_the_folder_is_read_only(tmp_path: Path) -> None:
    """Reading works, changing is refused with advice."""
    make_keyring(tmp_path / "keys.json")
    tmp_path.chmod(0o500)
    try:
        keyring = FileKeyring(tmp_path / "keys.json", PASSPHRASE)
        for lock in tmp_path.glob(".*.lock"):
            lock.chmod(0o400)
        with pytest.raises(KeyringError, match="cannot be changed here"):
            keyring.record_keyset(1, bytes(32))
    finally:
        tmp_path.chmod(0o700)


def test_message_says_what_to_set_when_a_mounted_file_is_open_to_others(tmp_path: Path) -> None:
    """The default mode of a Kubernetes secret is 0644."""
    make_keyring(tmp_path / "keys.json")
    (tmp_path / "keys.json").chmod(0o644)
    with pytest.raises(KeyringError, match=r"chmod 600.*defaultMode 0400"):
        private_file.read_private(tmp_path / "keys.json")
