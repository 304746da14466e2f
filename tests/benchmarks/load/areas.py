"""A profile by area: whose code the time went to; built-in functions count with their callers."""

import pstats
import re
from collections import defaultdict
from pathlib import Path
from typing import cast

Function = tuple[str, int, str]
# Built-in functions that are an area of their own, by what the profiler calls them.
_BUILT_IN = (
    (
        "primitives (cryptography)",
        re.compile(r"cryptography\.|cobblestone|_hashlib|_hmac|HMAC", re.IGNORECASE),
    ),
    ("protobuf", re.compile(r"_upb|_message\.")),
    ("sqlite", re.compile(r"sqlite3\.")),
    ("waiting for input and output", re.compile(r"epoll|_queue\.SimpleQueue|acquire|_socket")),
    ("grpc", re.compile(r"grpc|cygrpc")),
)
_OWN = re.compile(r"/isthmus/(gateway/)?(\w+)")
_INSTALLED = re.compile(r".*/(?:site-packages|python3\.\d+)/(\w+)")


def areas(path: Path) -> dict[str, float]:
    """Return the seconds of each area in a profile, the largest first."""
    # The dictionary is how pstats documents itself to its own methods; its stubs leave it out.
    stats = cast(
        "dict[Function, tuple[int, int, float, float, dict[Function, tuple[int, int, float, float]]]]",
        vars(pstats.Stats(str(path)))["stats"],
    )
    seconds: dict[str, float] = defaultdict(float)
    for function, (_, _, own, _, callers) in stats.items():
        area = _area(function)
        if area is not None or not callers:
            seconds[area or "other"] += own
            continue
        for caller, (_, _, of_caller, _) in callers.items():
            seconds[_area(caller) or "other"] += of_caller
    return dict(sorted(seconds.items(), key=lambda area: -area[1]))


def _area(function: Function) -> str | None:
    """Return the area of a function; None for a built-in function that belongs to whoever calls it."""
    file, _, name = function
    if file == "~":
        return next((area for area, pattern in _BUILT_IN if pattern.search(name)), None)
    own = _OWN.search(file)
    if own is not None:
        return f"isthmus.{'gateway.' if own[1] else ''}{own[2]}"
    installed = _INSTALLED.search(file)
    # Methods that dataclasses generate have no file.
    return "generated methods" if file.startswith("<string>") else installed[1] if installed else "other"
