"""A recovery folder of an older release is migrated once, and its replay ends as it would have there.

`tests/golden/recovery-learn-7.tar.xz` was made by the last release that trained everything in the step
`learn`: a replay of `shop.jsonl` killed in the middle (`recovery/`), the content of its Redis then
(`dump.rdb`), and the report of the same replay when nothing killed it (`expected.json`).
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tarfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flows import steps
from flows.commands.cli import main
from flows.recovery import checkpoint_reader, migration
from flows.recovery.backup import create_backup, latest_backup
from flows.recovery.folder import open_recovery
from flows.recovery.snapshot_places import snapshot_places
from flows.recovery.store_files import PARTITIONS
from state.config_loader import load
from state.errors import RecoveryError
from state.journal_files import list_journals
from state.snapshots import ClustersState, DevicesState, ItemsState, PropensityState, UsersState

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parents[2] / "golden" / "recovery-learn-7.tar.xz"
OVERRIDES = ("source.batch_events=30", "source.epoch_ms=50")
SETTINGS = load(environment={}, overrides=OVERRIDES)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """What the older release left."""
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def resume(old: Path, redis_url: str) -> dict[str, Any]:
    """The report of the replay that goes on, for what the older release reported too."""
    report = old / "report.json"
    arguments = ["replay", str(old / "shop.jsonl"), "--format", "penstock", "--redis", redis_url]
    arguments += ["--recovery", str(old / "recovery"), "--report", str(report)]
    arguments += ["--dead-letters", str(old / "dead.jsonl")]
    assert main(arguments + [word for one in OVERRIDES for word in ("--set", one)]) == 0
    found = msgspec.json.decode(report.read_bytes())
    return {name: found[name] for name in expected(old)}


def expected(old: Path) -> dict[str, Any]:
    report: dict[str, Any] = msgspec.json.decode((old / "expected.json").read_bytes())
    del report["state_sha256"]
    return report


def migrated(old: Path) -> None:
    with open_recovery(old / "recovery", SETTINGS):
        pass


@contextmanager
def dumped_redis(old: Path) -> Iterator[str]:
    """A Redis with the content of before the kill."""
    socket = old / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
    server = subprocess.Popen([*command, "--dir", str(old)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert server.poll() is None
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait()


def test_a_folder_is_migrated_and_its_replay_ends_as_without_a_kill(old: Path) -> None:
    """In everything that was counted; what is learned may differ from release to release."""
    with dumped_redis(old) as url:
        assert resume(old, url) == expected(old)


def test_heirs_get_their_state_and_the_old_one_is_backed_up(old: Path) -> None:
    folder = old / "recovery"
    before = checkpoint_reader.read_checkpoint(folder / "store", shards=8)
    learned = before.states["personalize.learn", "all"]
    assert migration.migrate(folder, before, SETTINGS)
    after = checkpoint_reader.read_checkpoint(folder / "store", shards=8)
    clusters = after.states[steps.stored_id(steps.TRAIN_CLUSTERS), steps.CLUSTERS_KEY]
    assert isinstance(clusters, ClustersState)
    assert clusters.definitions == learned.defined != {}
    assert sum(clusters.accepted.values()) > 1000
    assert len(clusters.clusters["recent"].to_array()) > 256
    items = after.states[steps.stored_id(steps.TRAIN_ITEMS), steps.ITEMS_KEY]
    assert isinstance(items, ItemsState)
    assert len(items.ids["items"]) == len(items.cards) == 40
    assert len(items.ids["shoppers"]) == len(items.arrays["contexts/last_ms"].to_array()) > 0
    parts = {name.partition("/")[0] for name in items.arrays}
    assert parts >= {"covisitation", "factors", "content", "popularity", "bought", "seen"}
    assert parts.isdisjoint({"session_knn", "blend", "pending", "had", "against"})
    assert items.newest_ms == learned.now_ms
    propensity = after.states[steps.stored_id(steps.TRAIN_PROPENSITY), steps.PROPENSITY_KEY]
    assert isinstance(propensity, PropensityState)
    known, seen_ms = (
        propensity.known["known"].to_array(),
        propensity.propensity["latest.times"].to_array()[:, 1],
    )
    assert len(propensity.shoppers) == len(known) >= len(seen_ms) > 100
    assert known.sum() > 10
    assert propensity.propensity["version"].to_array().tolist() == [2]
    backup = latest_backup(folder)
    assert backup is not None
    assert checkpoint_reader.read_checkpoint(backup, shards=8).states.keys() == before.states.keys()
    assert not migration.migrate(folder, after, SETTINGS)


@pytest.mark.parametrize("written", [False, True], ids=["nothing written", "all written"])
def test_an_interrupted_migration_begins_again(old: Path, written: bool) -> None:
    folder = old / "recovery"
    checkpoint = checkpoint_reader.read_checkpoint(folder / "store", shards=8)
    if written:
        migration.migrate(folder, checkpoint, SETTINGS)
    else:
        create_backup(folder, shards=8)
    (folder / migration.BEGUN_FILE).touch()
    for part in range(PARTITIONS):  # and a file has lost what it held
        if written:
            with closing(sqlite3.connect(folder / "store" / f"part-{part}.sqlite3")) as connection:
                connection.execute("DELETE FROM snaps WHERE step_id LIKE '%.personalize'")
                connection.commit()
    migrated(old)
    assert not (folder / migration.BEGUN_FILE).exists()
    states = checkpoint_reader.read_checkpoint(folder / "store", shards=8).states
    kinds = [type(state) for state in states.values()]
    assert kinds.count(DevicesState) == kinds.count(UsersState) == 8
    assert {step for step, _ in states} == {
        f"personalize.{step}"
        for step in (
            *("events", "identify", "sessionize", "train_clusters", "train_propensity"),
            *("train_items", "personalize", "redis", "dead_letters"),
        )
    }


@pytest.mark.slow
def test_a_damaged_journal_of_the_clusters_is_an_error_or_the_backup(
    old: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    resume(old, redis_url)
    rows = old / "recovery" / "rows"
    [journal] = [path for path, name, _ in list_journals(rows) if name == "clusters"]
    damaged = bytearray(journal.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    journal.write_bytes(damaged)
    migrated(old)
    assert "resuming from the previous snapshot" in caplog.text
    assert journal.name in caplog.text
    journal.write_bytes(damaged)
    shutil.rmtree(old / "recovery" / "previous")
    with pytest.raises(RecoveryError, match=rf"{journal.name}.*no previous snapshot"):
        migrated(old)


def test_bytewax_is_asked_where_snapshots_are() -> None:
    """The places of one run are those of the next, and keys are spread over the files."""
    keys = {"visit_users": [str(shard) for shard in range(16)], "learn": ["all"]}
    places = snapshot_places(steps.FLOW_ID, keys)
    assert {key for _, key in places} == {*map(str, range(16)), "all"}
    assert {*places.values()} <= {*range(PARTITIONS)}
    assert len({*places.values()}) > 1
    assert snapshot_places(steps.FLOW_ID, {"learn": ["all"]}) == {
        ("personalize.learn", "all"): places["personalize.learn", "all"]
    }
