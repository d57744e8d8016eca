"""The backup process: it backs up a live recovery folder, cleans it up, and ends with its run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flows.recovery import backup, backup_process, checkpoint_reader
from flows.recovery.folder import open_recovery
from flows.runtime.replay import replay_source
from flows.sources.recorded import RecordedSource
from state import journal, journal_files
from state.config_deployment import Recovery
from tests.flows.recovery.test_crash import SHOP, CrashingPartition, CrashingSource
from tests.flows.recovery.test_folder import MEMORY
from tests.streams import SHARDS, content, flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = msgspec.structs.replace(
    flow_settings(batch_events=30, epoch_ms=5),
    recovery=Recovery(checkpoint_s=1, rewrite_ratio=0.01),
)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A backup process that starts at once, and journals that are soon compacted."""
    monkeypatch.setattr(backup_process, "_START_DELAY_S", 0.0)
    monkeypatch.setattr(journal, "_COMPACT_ABOVE_BYTES", 1000)
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


class SlowPartition(CrashingPartition):
    """Waits before each batch, and saves the backups made meanwhile."""

    def __init__(self, of: Any, folder: Path) -> None:
        super().__init__(of, [])
        self._folder = folder

    def next_batch(self) -> Any:
        time.sleep(0.1)
        if (
            backup.latest_backup(self._folder / "recovery")
            and not (self._folder / "aside").exists()
        ):
            shutil.copytree(
                self._folder / "recovery" / "previous", self._folder / "aside" / "previous"
            )
        return super().next_batch()


class SlowSource(CrashingSource):
    folder: Path

    def build_part(self, *args: Any) -> SlowPartition:
        return SlowPartition(self._of.build_part(*args), self.folder)


def test_a_backup_made_while_the_flow_writes_is_consistent(redis_url: str, folder: Path) -> None:
    source = SlowSource(RecordedSource({"shop": lambda: iter(SHOP)}, SETTINGS), [])
    source.folder = folder
    replay_source(
        source,
        SETTINGS,
        redis_url=redis_url,
        dead_letters=folder / "dead_letters.jsonl",
        recovery_folder=folder / "recovery",
    )
    rows = content(redis_url)
    store = backup.latest_backup(folder / "aside")
    assert store is not None
    cut = checkpoint_reader.read_checkpoint(store, shards=SHARDS)
    assert 0 < cut.states["personalize.events", "shop"].batches < len(SHOP) // 30
    for handle in cut.journal_positions:
        # An early backup may have a shard without a shopper yet: 8 bytes head its file.
        assert list(journal_files.read(store.parent / "rows", handle)) or handle.length == 8
    left = journal_files.list_journals(folder / "recovery" / "rows")
    assert max(generation for _, _, generation in left) > len(left) / (2 * SHARDS)
    (folder / "whole").mkdir()
    assert run_flow(SHOP, redis_url, folder / "whole", settings=SETTINGS) == rows


def test_the_backup_process_ends_with_a_killed_run_and_the_next_run_can_start(folder: Path) -> None:
    words = (
        "import sys, time, pathlib, flows.recovery.backup_process\n"
        "from tests.flows.recovery.test_backup_process import SETTINGS\n"
        "from flows.recovery.folder import open_recovery\n"
        "flows.recovery.backup_process._START_DELAY_S = 0.0\n"
        "with open_recovery(pathlib.Path(sys.argv[1]), SETTINGS):\n"
        "    print('in', flush=True); time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", words, str(folder)], stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"in\n"
    while not (folder / "lock-keeper").exists() or not keepers(folder):
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    with open_recovery(folder, SETTINGS):
        pass
    for _ in range(100):
        if not keepers(folder):
            break
        time.sleep(0.1)
    assert not keepers(folder)


def keepers(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"flows.recovery.backup_process\0{folder}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def test_a_backup_process_that_ends_is_restarted_and_one_that_hangs_delays_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_process, "_STOP_TIMEOUT_S", 0.1)
    with open_recovery(folder, SETTINGS):
        first = wait_for_a_keeper(folder, but=0)
        os.kill(first, signal.SIGKILL)
        second = wait_for_a_keeper(folder, but=first)
        os.kill(second, signal.SIGSTOP)
    assert keepers(folder) == []


def wait_for_a_keeper(folder: Path, *, but: int) -> int:
    for _ in range(1000):
        for pid in keepers(folder):
            if pid != but:
                return pid
        time.sleep(0.01)
    raise AssertionError("no keeper")
