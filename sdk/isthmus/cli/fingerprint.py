"""Fingerprints, as people compare and type them."""

from isthmus.cli.exit_code import CliError

_PREFIX = "SHA256:"
_DIGITS = 64


def parse_fingerprint(text: str) -> bytes:
    """Read ``SHA256:`` and 64 hexadecimal digits. Raises CliError."""
    digits = text.strip().removeprefix(_PREFIX).replace(":", "")
    try:
        fingerprint = bytes.fromhex(digits)
    except ValueError:
        fingerprint = b""
    if len(digits) != _DIGITS or len(fingerprint) * 2 != _DIGITS:
        raise CliError(f"{text!r} is no fingerprint: it is {_PREFIX} and {_DIGITS} hexadecimal digits")
    return fingerprint
