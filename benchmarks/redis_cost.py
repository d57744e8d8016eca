"""What does Redis itself spend on an event, at large and small batches, beside one SET an event?

The canonical workload (`workload.py`) is replayed into a Redis of its own, with a recovery folder as a
worker has one (without it profiles are written whole each time). The processor time of that server is
read before and after (INFO cpu). Then as many SETs of a short value as there were events go to the same
server in the same pipelines: what no writer could leave out.

`python -m benchmarks.redis_cost` prints, for each number of events a batch, the time of Redis an event,
its ratio to one SET, and which key families the commands and bytes went to.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from msgspec.structs import replace

from benchmarks.workload import Workload, cached
from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime import replay
from flows.sources.files import LogFile
from operators.readers.registry import READERS
from state import resp
from state.config import Settings
from state.store import Store
from state.store.connection import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from state.dead_letters import DeadLetter
    from state.events import Event
    from state.store.store import Command

RUNS = ((8192, 250_000), (256, 60_000))
"""Events a batch, and events."""
SETS_PER_SEND = 2000
FAMILIES_SHOWN = 14

_ID_IN_KEY = re.compile(r"\{.*?\}")


class Cost(NamedTuple):
    """What Redis took: microseconds of its processor an event, and of one SET."""

    event_us: float
    set_us: float
    commands: Counter[str]
    size_bytes: Counter[str]


def family_of(packed: bytes) -> str:
    """Command and kind of key.

    >>> family_of(pack(("HSET", "ps:1:shopper:{ann}:profile", "known", 1)))
    'HSET shopper:profile'
    """
    arguments = resp.unpack_command(packed)
    key = arguments[3] if arguments[0] in ("EVAL", "EVALSHA") else arguments[1]
    return f"{arguments[0]} {_ID_IN_KEY.sub('', key).removeprefix('ps:1:').replace('::', ':')}"


class _CountingStore(Store):
    """A store that counts what it is given: all stores of one run together."""

    commands: ClassVar[Counter[str]] = Counter()
    size_bytes: ClassVar[Counter[str]] = Counter()

    def send(
        self,
        commands: Iterable[Command],
        on_written: Callable[[float], None] | None = None,
        *,
        barrier_after: int = 0,
    ) -> None:
        packed = [c if isinstance(c, bytes) else pack(c) for c in commands]
        for command in packed:
            family = family_of(command)
            self.commands[family] += 1
            self.size_bytes[family] += len(command)
        super().send(packed, on_written, barrier_after=barrier_after)


def measure(batch_events: int, events: int) -> Cost:
    """Replay so many events in batches of so many, then send as many SETs."""
    path, settings = str(cached(Workload(events=300_000))), Settings()
    settings = replace(settings, source=replace(settings.source, batch_events=batch_events))

    def records() -> Iterator[Event | DeadLetter]:
        lines = READERS["penstock"](LogFile(path).lines(), source=path, now_ms=2**62)
        yield from islice(lines, events)

    _CountingStore.commands.clear()
    _CountingStore.size_bytes.clear()
    setattr(replay, "Store", _CountingStore)  # noqa: B010
    with EmbeddedRedis() as redis, tempfile.TemporaryDirectory() as folder:
        started_s = _cpu_s(redis.url)
        replay.replay_recordings(
            {"file": records},
            settings,
            redis_url=redis.url,
            dead_letters=Path(folder) / "dead.jsonl",
            recovery_folder=Path(folder) / "recovery",
        )
        flow_s = _cpu_s(redis.url)
        _set_each(redis.url, events)
        ended_s = _cpu_s(redis.url)
    return Cost(
        (flow_s - started_s) / events * 1e6,
        (ended_s - flow_s) / events * 1e6,
        Counter(_CountingStore.commands),
        Counter(_CountingStore.size_bytes),
    )


def _set_each(url: str, count: int) -> None:
    store = Store(url, timeout_ms=5000, patience_s=10)
    for start in range(0, count, SETS_PER_SEND):
        numbers = range(start, min(start + SETS_PER_SEND, count))
        store.send([("SET", f"ps:1:set:{{{n % 50_000}}}", n, "EX", 86_400) for n in numbers])
    store.close()


def _cpu_s(url: str) -> float:
    store = Store(url, timeout_ms=5000, patience_s=10)
    cpu = store.client.info("cpu")
    store.close()
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="*", default=[f"{b}:{n}" for b, n in RUNS])
    for run in parser.parse_args().runs:
        batch_events, events = map(int, run.split(":"))
        cost = measure(batch_events, events)
        print(
            f"batch={batch_events} redis_us_an_event={cost.event_us:.2f} set_us={cost.set_us:.2f} "
            f"ratio={cost.event_us / cost.set_us:.2f} "
            f"commands_an_event={cost.commands.total() / events:.2f} "
            f"bytes_an_event={cost.size_bytes.total() / events:.0f}",
            flush=True,
        )
        for family, size in cost.size_bytes.most_common(FAMILIES_SHOWN):
            commands = cost.commands[family] / events
            print(f"  {family:<32} commands={commands:.3f} bytes={size / events:.1f}")


if __name__ == "__main__":
    main()
