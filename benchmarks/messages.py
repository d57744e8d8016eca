"""What does it cost to send an event's messages to another process, beside a plain pickle of them?

Bytewax pickles each message that leaves its worker; with two workers half of the groups, half of
what goes on to users and half of the parts do. `python -m benchmarks.messages` folds 100,000 events
of the canonical workload and prints microseconds an event and hop, there and back, best of three.
"""

from __future__ import annotations

import io
import pickle
from itertools import islice
from time import process_time
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.workload import Workload, cached
from flows.sources.files import LogFile
from operators.readers.registry import READERS
from operators.shards.batching import SourceBatcher
from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from state.config import Settings
from state.messages import DeviceShardInput, ShardOutput, ShardPart, UserShardInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.messages import Message

EVENTS = 100_000
BATCHES = (8192, 512)
"""Events a batch: of a replay, and of a busy live run."""


def hops(batch_events: int) -> dict[str, list[Any]]:
    """The messages of each hop between workers."""
    settings = Settings()
    shards, rules = (
        settings.sessions.shards,
        ProcessorConfig.from_config(
            settings.sessions, settings.profiles, settings.state, settings.lifecycle
        ),
    )
    devices = [DeviceShard(rules) for _ in range(shards)]
    users = [UserShard(rules) for _ in range(shards)]
    path = str(cached(Workload(events=200_000)))
    records = READERS["penstock"](LogFile(path).lines(), source=path, now_ms=2**62)
    clock = SourceBatcher()
    sent: dict[str, list[Any]] = {"by_device": [], "by_user": [], "together": []}
    for _ in range(EVENTS // batch_events):
        groups = clock.batch(
            islice(records, batch_events),
            partition="file",
            shards=shards,
            allowed_lateness_ms=settings.sessions.allowed_lateness_ms,
        ).shard_inputs
        sent["by_device"] += groups
        dealt = regroup([v for g in groups for v in devices[g.shard].process(g)], shards)
        sent["by_user"] += dealt
        sent["together"] += [part for m in dealt for part in users[m.shard].process(m)]
    return sent


def plainly(message: Message) -> bytes:
    """Pickled field by field, as if a message did not know better."""
    into = io.BytesIO()
    pickler = pickle.Pickler(into)
    pickler.dispatch_table = dict.fromkeys(
        (DeviceShardInput, UserShardInput, ShardOutput, ShardPart), _fields
    )
    pickler.dump(message)
    return into.getvalue()


def _fields(message: Message) -> tuple[Any, ...]:
    return type(message), msgspec.structs.astuple(message)


def best_us(
    messages: Sequence[Any], dumps: Callable[[Any], bytes] = pickle.dumps
) -> tuple[float, float, int]:
    """Microseconds an event to pickle messages and to have them again, and bytes an event."""
    there_s, back_s = [], []
    for _ in range(3):
        began_s = process_time()
        blobs = [*map(dumps, messages)]
        there_s.append(process_time() - began_s)
        began_s = process_time()
        for blob in blobs:
            pickle.loads(blob)
        back_s.append(process_time() - began_s)
    size = sum(map(len, blobs))
    return min(there_s) / EVENTS * 1e6, min(back_s) / EVENTS * 1e6, size // EVENTS


def main() -> None:
    """Print a line for each hop and batch size."""
    for batch_events in BATCHES:
        for hop, messages in hops(batch_events).items():
            there, back, size = best_us(messages)
            plain_there, plain_back, plain_size = best_us(messages, plainly)
            print(
                f"batch={batch_events} hop={hop} there_us={there:.2f} back_us={back:.2f} "
                f"bytes={size} plain: there_us={plain_there:.2f} back_us={plain_back:.2f} "
                f"bytes={plain_size}",
                flush=True,
            )


if __name__ == "__main__":
    main()
