"""Runs a module with a profiler in each of its threads: ``-m … PROFILE MODULE [ARGUMENT …]``.

Writes the profile when the module ends. It counts processor time, not time that passes, and leaves out what
importing the module costs. A profiled process is slower, its small functions most of all: the profile says
where time goes, the benchmark without it says how much.
"""

import cProfile
import importlib
import pstats
import runpy
import sys
import threading
import time
from types import FrameType
from typing import Any


def run(output: str, module: str) -> None:
    """Run the module as a program, and write the profile of all its threads."""
    importlib.import_module(module)
    # It is run now, and not found to be there already.
    del sys.modules[module]
    profiles = [cProfile.Profile(time.thread_time)]

    def begin(_frame: FrameType, _event: str, _argument: Any) -> None:  # noqa: ANN401
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.enable()

    threading.setprofile(begin)
    profiles[0].enable()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        profiles[0].disable()
        threading.setprofile(None)
        stats = pstats.Stats(profiles[0])
        for profile in profiles[1:]:
            if profile.getstats():
                stats.add(profile)
        stats.dump_stats(output)


if __name__ == "__main__":
    _, chosen_output, chosen_module, *rest = sys.argv
    sys.argv = [chosen_module, *rest]
    run(chosen_output, chosen_module)
