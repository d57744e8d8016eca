"""A crash anywhere changes nothing: what a run leaves in Redis is what an undisturbed one leaves.

The whole content is compared, not the facts alone. Epochs are short, so that a crash finds some of
them stored and some not.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_source
from flows.sources.recorded import RecordedSource
from operators.events.decode import decode_lines
from operators.synthetic.traffic import encode_lines, generate_events
from tests.flows.recovery.test_redis_rebuild import held, held_of
from tests.streams import content, flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from state.dead_letters import DeadLetter
    from state.events import Event
    from state.messages import SourceBatch

BATCH = 60


def recorded() -> list[Event | DeadLetter]:
    """A shop some of whose lines come twice, and some cut off."""
    rows = encode_lines(
        generate_events(events=1200, shoppers=250, items=50, events_per_s=0.15),
        repeated=0.02,
        damaged=0.01,
    )
    return list(
        decode_lines(rows, source="shop", partition="0", first_offset=0, now_ms=1_900_000_000_000)
    )


SHOP = recorded()


class CrashingPartition(StatefulSourcePartition["SourceBatch", bytes]):
    """A recording that takes the process down, as far as Bytewax can tell, before some batches."""

    def __init__(self, of: StatefulSourcePartition[SourceBatch, bytes], crashes: list[int]) -> None:
        self._of = of
        self._crashes = crashes
        self._batches = 0

    def next_batch(self) -> Any:
        if self._crashes and self._batches >= self._crashes[0]:
            del self._crashes[0]
            raise AbortExecution
        self._batches += 1
        return self._of.next_batch()

    def snapshot(self) -> bytes:
        return self._of.snapshot()


class CrashingSource(FixedPartitionedSource["SourceBatch", bytes]):
    def __init__(self, of: RecordedSource, crashes: list[int]) -> None:
        self._of = of
        self._crashes = crashes

    def list_parts(self) -> list[str]:
        return self._of.list_parts()

    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> CrashingPartition:
        return CrashingPartition(
            self._of.build_part(step_id, for_part, resume_state), self._crashes
        )


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(
    server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], bytes]:
    """What Redis and the file of dead letters hold after a run without a crash or a recovery store."""
    folder = tmp_path_factory.mktemp("undisturbed")
    rows = run_flow(SHOP, server.url, folder, settings=flow_settings(batch_events=BATCH))
    return rows, (folder / "dead_letters.jsonl").read_bytes()


@pytest.mark.slow
@settings(max_examples=6)
@given(
    crashes=st.lists(st.integers(0, 21), max_size=3), epoch_ms=st.sampled_from([1, 5, 30, 10_000])
)
def test_a_crash_before_any_batch(
    server: EmbeddedRedis,
    undisturbed: tuple[dict[str, Any], bytes],
    crashes: list[int],
    epoch_ms: int,
) -> None:
    server.send_command("FLUSHALL")
    chosen = flow_settings(batch_events=BATCH, epoch_ms=epoch_ms)
    to_come = list(crashes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(len(crashes) + 1):
            replay_source(
                CrashingSource(RecordedSource({"shop": lambda: iter(SHOP)}, chosen), to_come),
                chosen,
                redis_url=server.url,
                dead_letters=folder / "dead_letters.jsonl",
                recovery_folder=folder / "recovery",
            )
        letters = (folder / "dead_letters.jsonl").read_bytes()
    assert (content(server.url), letters) == undisturbed


def replay_shop(redis_url: str, folder: Path, begins: Connection) -> None:
    begins.send(True)
    run_flow(
        SHOP,
        redis_url,
        folder,
        settings=flow_settings(batch_events=BATCH, epoch_ms=5),
        recovery_folder=folder / "recovery",
    )


def test_a_process_killed_at_any_moment(
    server: EmbeddedRedis, undisturbed: tuple[dict[str, Any], bytes], tmp_path: Path
) -> None:
    """Killed again and again, at times independent of batches, until it finishes."""
    server.send_command("FLUSHALL")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    rng = random.Random(7)
    exits: list[int | None] = []
    while not exits or exits[-1] != 0:
        heard, begins = processes.Pipe(duplex=False)
        process = processes.Process(target=replay_shop, args=(server.url, tmp_path, begins))
        process.start()
        assert heard.recv()
        process.join(rng.uniform(0, 0.3) if len(exits) < 5 else None)
        process.kill()
        process.join()
        exits.append(process.exitcode)
    assert set(exits[:-1]) == {-signal.SIGKILL}
    assert (content(server.url), (tmp_path / "dead_letters.jsonl").read_bytes()) == undisturbed


def test_a_finished_run_has_nothing_to_resume(
    server: EmbeddedRedis, undisturbed: tuple[dict[str, Any], bytes], tmp_path: Path
) -> None:
    server.send_command("FLUSHALL")
    chosen = flow_settings(batch_events=BATCH)
    for _ in range(2):
        rows = run_flow(
            SHOP, server.url, tmp_path, settings=chosen, recovery_folder=tmp_path / "recovery"
        )
        assert rows == undisturbed[0]


@pytest.mark.parametrize("crash", [7, None])
@pytest.mark.parametrize("lost", ["all", "some"])
def test_a_redis_that_lost_its_data_is_rebuilt_when_the_replay_resumes(
    server: EmbeddedRedis,
    undisturbed: tuple[dict[str, Any], bytes],
    tmp_path: Path,
    crash: int | None,
    lost: str,
) -> None:
    """In the middle, and where the replay had come to its end."""
    server.send_command("FLUSHALL")
    chosen = flow_settings(batch_events=BATCH, epoch_ms=1)
    for _ in range(2):
        replay_source(
            CrashingSource(
                RecordedSource({"shop": lambda: iter(SHOP)}, chosen),
                [] if crash is None else [crash],
            ),
            chosen,
            redis_url=server.url,
            dead_letters=tmp_path / "dead_letters.jsonl",
            recovery_folder=tmp_path / "recovery",
        )
        server.send_command("FLUSHALL")
        if lost == "some":
            # Another run's results are in it now.
            server.send_command("SET ps:1:told another")
        crash = None
    replay_source(
        RecordedSource({"shop": lambda: iter(SHOP)}, chosen),
        chosen,
        redis_url=server.url,
        dead_letters=tmp_path / "dead_letters.jsonl",
        recovery_folder=tmp_path / "recovery",
    )
    assert held(server.url) == held_of(undisturbed[0])
