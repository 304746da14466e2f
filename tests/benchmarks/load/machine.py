"""What the kernel counts: processor time of processes and of the machine, proc(5)."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.peers.measured import processor_seconds

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat after the name, which may contain spaces.
_USER, _SYSTEM = 11, 12
# Of the first line of /proc/stat.
_IDLE, _IO_WAIT, _STEAL = 3, 4, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorTime:
    """Seconds so far: of each process, and of all processors together."""

    processes: tuple[float, ...]
    total: float
    idle: float
    steal: float

    @classmethod
    def read(cls, pids: tuple[int, ...], server: int | None = None) -> "ProcessorTime":
        """Read the counters.

        A ``server`` is counted with everything that it started, as the last of the processes.
        """
        servers = () if server is None else (processor_seconds([server]),)
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
        ticks = [int(field) for field in fields]
        return cls(
            processes=(*(_seconds_of(pid) for pid in pids), *servers),
            total=sum(ticks) / _TICKS_PER_SECOND,
            idle=(ticks[_IDLE] + ticks[_IO_WAIT]) / _TICKS_PER_SECOND,
            steal=ticks[_STEAL] / _TICKS_PER_SECOND,
        )

    def since(self, before: "ProcessorTime") -> "ProcessorTime":
        """Return what was used since an earlier reading."""
        return ProcessorTime(
            processes=tuple(now - then for now, then in zip(self.processes, before.processes, strict=True)),
            total=self.total - before.total,
            idle=self.idle - before.idle,
            steal=self.steal - before.steal,
        )

    @property
    def steal_share(self) -> float:
        """What the hypervisor gave to other machines, as a share of all processors."""
        return self.steal / self.total

    @property
    def foreign_share(self) -> float:
        """What other processes of this machine used, as a share of all processors."""
        return max(0.0, self.total - self.idle - self.steal - sum(self.processes)) / self.total


def _seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_SECOND
