"""Another number of workers, and a release that resumes the one before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.chaos.outcome import assert_same, outcome
from tests.chaos.trial import ROOT, Size, scenario, shop_records, undisturbed

if TYPE_CHECKING:
    from tests.chaos.trial import Scenarios
    from tests.chaos.world import World


SCENARIOS: Scenarios = {}
FORMER_COMMIT = "f4db4c5"
"""The last commit whose snapshots are of version 1: whole shards."""


@scenario(SCENARIOS, "rescale 1 to 2 to 1")
def rescale(world: World, size: Size) -> str:
    sent = shop_records(size)
    expected = undisturbed(world, sent)
    third = len(sent) // 3
    for index, processes in enumerate((1, 2, 1)):
        until = len(sent) if index == 2 else third * (index + 1)
        world.send(sent[third * index : until])
        world.start(processes=processes)
        world.finish(until)
    assert_same(expected, outcome(world.store()))
    return "a third of the log each"


@scenario(SCENARIOS, "upgrade from the snapshots of the previous release")
def upgrade(world: World, size: Size) -> str:
    """A replay of a file begun by the commit before snapshots changed, ended by this one."""
    folder = world.recovery.parent
    log, before = folder / "log.jsonl", folder / "before"
    log.write_bytes(b"\n".join(record.value for record in shop_records(size)))
    subprocess.run(
        ["git", "worktree", "add", "--detach", str(before), FORMER_COMMIT],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    try:
        replay = ["replay", str(log), "--format", "penstock", "--redis", world.redis_url]
        replay += ["--dead-letters", str(folder / "dead.jsonl")]
        small = ["--set", "source.batch_events=500", "--set", "source.epoch_ms=100"]
        recovery = ["--recovery", str(world.recovery)]
        subprocess.run(
            [sys.executable, "-m", "flows", *replay, *small],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        expected = outcome(world.store())
        world.redis.send_command("FLUSHALL")
        old = subprocess.Popen(
            [sys.executable, "-m", "flows", *replay, *small, *recovery],
            cwd=before, env={**os.environ, "PYTHONPATH": str(before)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while world.counted() < size.events // 4:
            assert old.poll() is None, "the former release ended before it could be stopped"
            time.sleep(0.02)
        # Stopped, not killed (docs/operations.md): a release with other clusters does not write again
        # what the former one wrote after its last snapshot.
        old.terminate()
        old.wait()
        resumed_at = world.counted()
        subprocess.run(
            [sys.executable, "-m", "flows", *replay, *small, *recovery],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip
    finally:
        subprocess.run(
            ["git", "worktree", "remove", "--force", str(before)],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip
    # It knew no stages: a shopper without events after it has none.
    assert_same(expected, outcome(world.store()), ignore=("stage",))
    return f"commit {FORMER_COMMIT} stopped after {resumed_at:,} events, this one went on"
