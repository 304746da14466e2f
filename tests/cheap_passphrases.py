"""Keys from passphrases at little cost: what makes guessing dear makes every command dear, too."""

import functools
from collections.abc import Generator
from contextlib import contextmanager

from isthmus.keys import file_keyring, key_file
from isthmus.keys.keyring_format import KdfParameters

_CHEAP = functools.partial(KdfParameters, memory_kib=8, iterations=1, lanes=1)
_MODULES = (file_keyring, key_file)


def derive_cheaply() -> None:
    """Protect files that way from now on, in this process."""
    _use(_CHEAP)


@contextmanager
def deriving_cheaply() -> Generator[None]:
    """Protect files that way within the block."""
    _use(_CHEAP)
    try:
        yield
    finally:
        _use(KdfParameters)


def _use(parameters: object) -> None:
    for module in _MODULES:
        setattr(module, "KdfParameters", parameters)  # noqa: B010 - it is an import there
