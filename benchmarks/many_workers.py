"""1, 2 and 4 processes on the same topic: who does how much, what they send each other, the same facts?

`python -m benchmarks.live --part workers` prints for each number of processes the share of the
busiest process of all processor time, and the bytes that the processes sent each other an event (of
their own connections, as `ss` counts them: Linux). The facts are a digest of profiles, counters and
identities.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from benchmarks.cores import cpu_s, family
from flows.runtime.replay_report import compute_digests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.live_rig import Rig

NEVER_IDLE = {"kafka.idle_ms": 3_600_000}
"""Where a partition is idle, event time follows the clock, and facts would depend on it."""
_SOCKET = re.compile(r"(\S+:\d+)\s+(\S+:\d+)\s+users:\(\(\"[^\"]*\",pid=(\d+)")
_SENT = re.compile(r"bytes_sent:(\d+)")
WATCH_EVERY_S = 0.2
READ_WITHIN_S = 900.0
SETTLE_S = 5.0
"""For the empty batches that carry the last watermark, and their writes."""


class Watch:
    """The processor time of processes and what they sent each other, taken until they end."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self.cpu_s: dict[int, float] = {}
        self._before_s: dict[int, float] = {}
        self.sent: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def count_from_now(self) -> None:
        """Leave out what was spent until now: imports and starts."""
        self._before_s = {pid: cpu_s(pid) for pid in family(self._pid)}

    def used_s(self) -> list[float]:
        """What each process has spent."""
        return [total - self._before_s.get(pid, 0.0) for pid, total in self.cpu_s.items()]

    def end(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def busiest_share(self) -> float:
        """The share of the busiest process of all processor time."""
        return max(self.used_s()) / sum(self.used_s())

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_EVERY_S):
            pids = family(self._pid)
            self.cpu_s |= {pid: cpu_s(pid) for pid in pids if cpu_s(pid) > 0}
            self.sent |= bytes_between(pids)


def bytes_between(pids: Sequence[int]) -> dict[tuple[str, str], int]:
    """What was sent over each connection of two of the processes."""
    lines = subprocess.run(["ss", "-tinpH"], capture_output=True, text=True, check=True).stdout
    sockets: dict[tuple[str, str], int] = {}
    of_pid: dict[tuple[str, str], int] = {}
    for entry in re.split(r"\n(?=\S)", lines):
        found, sent = _SOCKET.search(entry), _SENT.search(entry)
        if found and sent:
            ends = (found[1], found[2])
            sockets[ends], of_pid[ends] = int(sent[1]), int(found[3])
    return {
        (here, there): sent
        for (here, there), sent in sockets.items()
        if of_pid[here, there] in pids and of_pid.get((there, here)) in pids
    }


def measure(rig: Rig, topic: str, events: int, processes: int) -> tuple[float, float, str]:
    """Share of the busiest process, bytes an event, and the facts."""
    rig.store.client.flushall()
    with rig.running(
        topic, processes=processes, recovery=rig.recovery(), settings=NEVER_IDLE
    ) as process:
        watch, began_s = Watch(process.pid), time.perf_counter()
        try:
            _wait_until_read(rig, 1, process)
            watch.count_from_now()
            _wait_until_read(rig, events, process)
            time.sleep(SETTLE_S)
        finally:
            watch.end()
    wall_s = time.perf_counter() - began_s
    _, facts = compute_digests(rig.store)
    sent = sum(watch.sent.values()) / events
    print(
        f"processes={processes} wall_s={wall_s:.1f} with the start, "
        f"cpu_us_an_event={1e6 * sum(watch.used_s()) / events:.1f} "
        f"busiest={watch.busiest_share():.2f} bytes_an_event={sent:.0f} facts={facts[:12]}",
        flush=True,
    )
    return watch.busiest_share(), sent, facts


def _wait_until_read(rig: Rig, events: int, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.perf_counter() + READ_WITHIN_S
    while (read := rig.events()) < events:
        if process.poll() is not None or time.perf_counter() > deadline_s:
            raise SystemExit(f"{read} of {events} events, then nothing: {rig.last_line()}")
        time.sleep(0.05)
