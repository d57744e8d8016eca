"""Who uses how much of the machine: cores in use, by process, between two moments (Linux)."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


class Cores:
    """From its making on, until `used` is asked for; `processes` are those to report, by name.

    A process is reported with its children, each by itself, except those with a name of their own.
    """

    def __init__(self, processes: dict[str, int]) -> None:
        self._pids: dict[str, list[int]] = {}
        claimed: set[int] = set()
        for name, pid in processes.items():
            self._pids[name] = [one for one in family(pid) if one not in claimed]
            claimed.update(self._pids[name])
        self._began_s = time.perf_counter()
        self._before = {pid: cpu_s(pid) for pids in self._pids.values() for pid in pids}
        self._busy_s = busy_s()

    def used(self) -> str:
        """Cores in use since, as words; `others` is everybody else on the machine."""
        passed_s = time.perf_counter() - self._began_s
        spent = {pid: cpu_s(pid) - before for pid, before in self._before.items()}
        others = (busy_s() - self._busy_s - sum(spent.values())) / passed_s
        parts = [
            f"{name}={'+'.join(f'{spent[pid] / passed_s:.2f}' for pid in pids)}"
            for name, pids in self._pids.items()
        ]
        all_cores = sum(spent.values()) / passed_s + others
        return f"{' '.join(parts)} others={others:.2f} all={all_cores:.2f} of {os.cpu_count()}"


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int(_fields(int(entry.name))[1])
    found = [pid]
    for one in found:
        found += sorted(child for child, parent in parents.items() if parent == one)
    return found


def cpu_s(pid: int) -> float:
    """Processor time (s), user and system; 0 for a process that has ended."""
    with suppress(OSError):
        fields = _fields(pid)
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def busy_s() -> float:
    """Processor time (s) of the whole machine since its start, waiting for disks left out."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / _TICKS


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
