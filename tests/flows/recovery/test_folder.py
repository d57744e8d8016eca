"""Damage in a recovery folder: the previous snapshot replaces it, or a one-line error gives advice.

Never is anything else resumed than what was written. `shop` has the folder of a run that was killed
some batches after the previous snapshot was made, and what Redis held then.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from flows.recovery import backup, checkpoint_reader
from flows.recovery.folder import inspect_folder, verify
from flows.runtime.replay import replay_source
from flows.sources.recorded import RecordedSource
from operators.publish.digest import deterministic_rows
from state import journal_files
from state.errors import DamageError, RecoveryError, UserError
from state.store import Store
from tests.flows.recovery.test_crash import SHOP, CrashingPartition, CrashingSource
from tests.streams import SHARDS, content, flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
SETTINGS = flow_settings(batch_events=60, epoch_ms=5)


class KillingPartition(CrashingPartition):
    def next_batch(self) -> Any:
        if self._batches == self._crashes[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().next_batch()


class KillingSource(CrashingSource):
    def build_part(self, *args: Any) -> KillingPartition:
        return KillingPartition(self._of.build_part(*args), self._crashes)


def replay(redis_url: str, folder: Path, batches: list[int], source: Any = CrashingSource) -> None:
    replay_source(
        source(RecordedSource({"shop": lambda: iter(SHOP)}, SETTINGS), batches),
        SETTINGS,
        redis_url=redis_url,
        dead_letters=folder / "dead_letters.jsonl",
        recovery_folder=folder / "recovery",
    )


class Shop(NamedTuple):
    server: EmbeddedRedis
    folder: Path
    redis_then: list[tuple[bytes, int, bytes]]
    undisturbed: dict[str, Any]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    with EmbeddedRedis() as server, tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        undisturbed = run_flow(SHOP, server.url, folder, settings=SETTINGS)
        (folder / "dead_letters.jsonl").rename(folder / "whole.jsonl")
        server.send_command("FLUSHALL")
        replay(server.url, folder, [8])
        process = processes.Process(target=replay, args=(server.url, folder, [7], KillingSource))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        client = Store(server.url, timeout_ms=2000, patience_s=2).client
        then = [(key, max(client.pttl(key), 0), client.dump(key)) for key in client.keys("*")]
        yield Shop(server, folder, then, undisturbed)


@pytest.fixture
def room() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture
def folder(shop: Shop, room: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(shop.folder, room / "copy")
    return room / "copy"


def stored_files(recovery: Path) -> list[Path]:
    return [path for kind in ("store", "rows") for path in sorted((recovery / kind).iterdir())]


def all_that_is_resumed(recovery: Path) -> tuple[dict[Any, Any], list[list[bytes]]]:
    cut = verify(recovery, shards=SHARDS)
    return cut.states, [
        list(journal_files.read(recovery / "rows", handle)) for handle in cut.journal_positions
    ]


def batches_of(resumed: tuple[dict[Any, Any], list[list[bytes]]]) -> int:
    batches: int = resumed[0]["personalize.events", "shop"].batches
    return batches


def flip(path: Path, place: int, bits: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        [byte] = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ bits]))


def test_a_backup_older_than_the_store_is_valid(folder: Path) -> None:
    before = backup.latest_backup(folder / "recovery")
    assert before is not None
    assert [path.name for path in (folder / "recovery" / "store").glob("*-wal")]
    states, _ = all_that_is_resumed(folder / "recovery")
    assert states["personalize.events", "shop"].batches > 8


def test_a_flipped_or_missing_byte_is_detected_or_harmless(shop: Shop, room: Path) -> None:
    rng = random.Random(11)
    sound: Path = shop.folder / "recovery"
    shutil.copytree(sound, room / "sound")
    expected = all_that_is_resumed(room / "sound")
    batches = batches_of(expected)
    found = harmless = 0
    for path in stored_files(sound):
        size = path.stat().st_size
        for _ in range(6 if size else 0):
            damaged = room / "damaged"
            shutil.copytree(sound, damaged)
            place = rng.randrange(size)
            hit = damaged / path.relative_to(sound)
            if rng.random() < 0.2:
                os.truncate(hit, place)
            else:
                flip(hit, place, 1 << rng.randrange(8))
            try:
                resumed = all_that_is_resumed(damaged)
                # A store that lost its end may be whole one epoch earlier: nothing is lost by that.
                assert resumed == expected or 8 <= batches_of(resumed) < batches, (path, place)
                harmless += 1
            except DamageError:
                found += 1
            shutil.rmtree(damaged)
    assert found > 30
    assert harmless > 0


def go_on(shop: Shop, folder: Path) -> dict[str, Any]:
    """Run to the end, from what Redis held when the run was killed."""
    client = Store(shop.server.url, timeout_ms=2000, patience_s=2).client
    client.flushall()
    for key, ttl_ms, dump in shop.redis_then:
        client.restore(key, ttl_ms, dump)
    replay(shop.server.url, folder, [])
    return content(shop.server.url)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("rows/devices-2.1.rows", 50),
        ("rows/users-0.1.rows", 4000),
        ("store/part-2.sqlite3-wal", 500),
    ],
)
def test_the_previous_snapshot_replaces_damaged_state(
    shop: Shop, folder: Path, name: str, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "recovery" / name
    flip(path, place, 4)
    damaged = path.read_bytes()
    with caplog.at_level(logging.WARNING, "penstock.recovery"):
        assert go_on(shop, folder) == shop.undisturbed
    [line] = [
        record.getMessage() for record in caplog.records if record.name == "penstock.recovery"
    ]
    assert str(path.parent) in line
    assert "resuming from the previous snapshot" in line
    if path.suffix == ".rows":
        assert (folder / "recovery" / "damaged-1" / name).read_bytes() == damaged
        assert not (folder / "recovery" / "begun").exists()
    letters = (folder / "dead_letters.jsonl").read_bytes()
    assert letters == (shop.folder / "whole.jsonl").read_bytes()


def overwrite(path: Path) -> None:
    path.write_bytes(b"\x00" * 64 + path.read_bytes()[64:])


def damage_nothing(previous: Path) -> None:
    """For comparison."""


def lose_a_part(previous: Path) -> None:
    next(previous.glob("store-*/part-1.sqlite3")).unlink()


def overwrite_a_part(previous: Path) -> None:
    overwrite(next(previous.glob("store-*/part-0.sqlite3")))


def empty_a_part(previous: Path) -> None:
    next(previous.glob("store-*/part-3.sqlite3")).write_bytes(b"")


def overwrite_the_journals(previous: Path) -> None:
    for path in (previous / "rows").iterdir():
        overwrite(path)


def lose_the_journals(previous: Path) -> None:
    shutil.rmtree(previous / "rows")


def put_a_file_in_its_place(previous: Path) -> None:
    shutil.rmtree(previous)
    previous.write_bytes(b"not a folder")


def leave_other_names(previous: Path) -> None:
    (previous / "store-old").mkdir()
    (previous / "store-99").write_bytes(b"not a folder")


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing,
        lose_a_part,
        overwrite_a_part,
        empty_a_part,
        overwrite_the_journals,
        lose_the_journals,
        put_a_file_in_its_place,
        leave_other_names,
    ],
)
def test_a_damaged_backup_does_not_affect_an_intact_store_and_is_replaced(
    shop: Shop, folder: Path, damage: Callable[[Path], None]
) -> None:
    recovery = folder / "recovery"
    damage(recovery / "previous")
    assert "free and intact" in inspect_folder(recovery, SETTINGS)
    assert go_on(shop, folder) == shop.undisturbed
    # The next copy is whole where the store of the one before could not be read.
    store = backup.latest_backup(recovery)
    assert store is not None
    cut = checkpoint_reader.read_checkpoint(store, shards=SHARDS)
    if damage is not overwrite_the_journals:
        checkpoint_reader.verify_journals(recovery / "previous" / "rows", cut)


def test_stored_files_are_private(shop: Shop, folder: Path) -> None:
    """Also what a former release, or a copy by hand, left open to others. Compiled kernels hold no data:
    others may read them, and not change them."""
    recovery = folder / "recovery"
    for path in recovery.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    go_on(shop, folder)
    assert_private(recovery)
    before = os.umask(0)
    try:
        shutil.rmtree(recovery)
        go_on(shop, folder)
    finally:
        os.umask(before)
    assert_private(recovery)


def assert_private(recovery: Path) -> None:
    kernels = recovery / "kernels"
    paths = [path for path in [recovery, *recovery.rglob("*")] if kernels not in path.parents]
    modes = {path: path.stat().st_mode & 0o777 for path in paths}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert [path for path in kernels.rglob("*") if path.stat().st_mode & 0o022] == []


def test_a_missing_store_is_not_mistaken_for_a_new_one(shop: Shop, folder: Path) -> None:
    shutil.rmtree(folder / "recovery" / "store")
    assert go_on(shop, folder) == shop.undisturbed
    shutil.rmtree(folder / "recovery" / "store")
    shutil.rmtree(folder / "recovery" / "previous")
    with pytest.raises(RecoveryError, match=r"part-0\.sqlite3: the file is missing .*: restore"):
        go_on(shop, folder)


def test_a_damaged_previous_snapshot_gives_a_one_line_error(shop: Shop, folder: Path) -> None:
    for path in (folder / "recovery").glob("**/devices-2.1.rows"):
        flip(path, 50, 4)
    with pytest.raises(
        UserError,
        match=r"recovery/rows/devices-2\.1\.rows: byte \d+: .*the previous snapshot is damaged too",
    ):
        go_on(shop, folder)


def test_an_older_store_restored_by_hand_is_detected(shop: Shop, folder: Path) -> None:
    """One file of the store from a backup, the others of today."""
    before = backup.latest_backup(folder / "recovery")
    assert before is not None
    for name in ("part-0.sqlite3", "part-0.sqlite3-wal", "part-0.sqlite3-shm"):
        (folder / "recovery" / "store" / name).unlink(missing_ok=True)
    shutil.copy(before / "part-0.sqlite3", folder / "recovery" / "store")
    with pytest.raises(DamageError, match="not of the same moment"):
        verify(folder / "recovery", shards=SHARDS)
    assert go_on(shop, folder) == shop.undisturbed


@pytest.mark.parametrize("most_bytes", [14_000, 60_000])
def test_a_full_disk_is_a_one_line_error_and_the_run_resumes_later(
    shop: Shop, folder: Path, most_bytes: int
) -> None:
    """Whether a journal cannot grow or Bytewax's store, which panics."""
    if most_bytes == 60_000:
        shutil.rmtree(folder / "recovery")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        with pytest.raises(RecoveryError, match="free disk space"):
            go_on(shop, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert go_on(shop, folder) == shop.undisturbed


def test_a_copy_of_the_previous_snapshot_is_enough_for_a_new_folder(
    shop: Shop, folder: Path
) -> None:
    (folder / "recovery").rename(folder / "lost")
    (folder / "recovery").mkdir()
    shutil.copytree(folder / "lost" / "previous", folder / "recovery" / "previous")
    # For Redis a new folder is another run, so everything is rebuilt: lists are computed again.
    found = go_on(shop, folder)
    assert found.keys() == shop.undisturbed.keys()
    assert dict(deterministic_rows(found.items())) == dict(
        deterministic_rows(shop.undisturbed.items())
    )
