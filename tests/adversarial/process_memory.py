"""The memory of another process, as whoever took its machine over would read it."""

import re
from collections.abc import Iterator
from pathlib import Path

_REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(.*)$")
_NOT_MEMORY = ("[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]")


def memory_of(pid: int) -> Iterator[bytes]:
    """Return what is in each region that the process may read, but for the code that it has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps.splitlines():
            region = _REGION.match(line)
            if region is None or region[3] in _NOT_MEMORY or region[3].endswith(".so"):
                continue
            start, end = int(region[1], 16), int(region[2], 16)
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue  # gone since, or not to be read
