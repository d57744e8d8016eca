"""The whole flow into a real Redis: the result of a replay depends only on its input."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pytest
from bytewax.testing import cluster_main

from flows.dataflow import Sinks, StateStores, build
from flows.recovery.folder import open_recovery
from flows.runtime.replay import replay_recordings
from flows.sinks.dead_letters import DeadLetterSink
from flows.sinks.redis import RedisSink
from flows.sources.recorded import RecordedSource
from operators.events.decode import decode_lines
from operators.publish.digest import deterministic_rows
from operators.synthetic.traffic import generate_events
from state import keys
from state.dead_letters import DeadLetter
from state.errors import RecoveryError, SourceError
from state.store import Store, sha256
from tests.streams import (
    LATENESS_MS,
    START_MS,
    content,
    event,
    flow_settings,
    run_flow,
    shuffled_within,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flows.sources.recorded import Records
    from state.events import Event

SHOP = list(generate_events(events=3000, shoppers=400, items=80, events_per_s=0.3))
"""Enough for clusters, lists, merges, purchases and sessions that end: three hours of a small shop."""


def figures(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        name.decode(): orjson.loads(value)
        for name, value in rows[keys.meta_key()][:]
        if name not in (b"contract", b"writer_version")
    }


def facts_of(rows: dict[str, Any]) -> dict[str, Any]:
    return dict(deterministic_rows(rows.items()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the shop leaves in Redis."""
    from flows.process.embedded_redis import EmbeddedRedis

    with EmbeddedRedis() as server:
        return run_flow(SHOP, server.url, tmp_path_factory.mktemp("whole"))


def test_stored_names_never_change() -> None:
    """A renamed step silently starts from nothing."""
    flow = build(
        RecordedSource({}, flow_settings()),
        Sinks(
            RedisSink(lambda: Store("redis://x", timeout_ms=1, patience_s=0)),
            DeadLetterSink(Path("x")),
        ),
        flow_settings(),
        StateStores(),
    )
    assert flow.flow_id == "personalize"
    assert [step.step_id for step in flow.substeps] == [
        "personalize.events",
        "personalize.by_device",
        "personalize.arrived",
        "personalize.order",
        "personalize.turns",
        "personalize.in_order",
        "personalize.identify",
        "personalize.by_shopper",
        "personalize.sessionize",
        "personalize.together",
        "personalize.sortable",
        "personalize.features_of",
        "personalize.train_clusters",
        "personalize.outcomes_of",
        "personalize.train_propensity",
        "personalize.interactions_of",
        "personalize.train_items",
        "personalize.trained",
        "personalize.models",
        "personalize.joined",
        "personalize.personalize",
        "personalize.redis",
        "personalize.rejected",
        "personalize.failed",
        "personalize.erased",
        "personalize.set_aside",
        "personalize.dead_letters",
    ]


def test_every_key_of_the_contract_is_filled(whole: dict[str, Any]) -> None:
    kinds = {key.rpartition("}:")[2] if "}:" in key else key.split("{")[0] for key in whole}
    fields = {name for key in whole if key.endswith("}:profile") for name, _ in whole[key]}
    assert {b"p_buy_session", b"cluster", b"rfm", b"stage"} <= fields
    assert kinds >= {
        *("profile", "segments", "top:home", "session", "members", "definition", "stats"),
        *("similar", "bought", "card", "24h", "ps:1:alias:", "ps:1:model:", "ps:1:changes:"),
        *("ps:1:meta", "ps:1:segments"),
    }


def test_every_record_is_accounted_for(whole: dict[str, Any]) -> None:
    told = figures(whole)
    assert told["events"] == len(SHOP)
    assert told["events"] == told["accepted"] + told["duplicates"] + sum(told["rejected"].values())
    assert sum(told["by_type"].values()) == len(SHOP)
    assert told["shoppers"] == sum(key.endswith("}:profile") for key in whole)
    assert min(told["merges"], told["sessions_closed"], told["lists_written"]) > 0


def test_the_same_input_gives_the_same_redis(
    whole: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    assert run_flow(SHOP, redis_url, tmp_path) == whole


@pytest.mark.parametrize("batch_events", [7, 4096])
def test_facts_do_not_depend_on_the_batch_size(
    whole: dict[str, Any], redis_url: str, tmp_path: Path, batch_events: int
) -> None:
    rows = run_flow(
        SHOP[:1500], redis_url, tmp_path, settings=flow_settings(batch_events=batch_events)
    )
    Store(redis_url, timeout_ms=2000, patience_s=2).client.flushall()
    assert facts_of(rows) == facts_of(run_flow(SHOP[:1500], redis_url, tmp_path))


def item_lists(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        key: orjson.loads(value)["items"]
        for key, value in rows.items()
        if key.endswith(("}:similar", "}:bought"))
    }


@pytest.mark.parametrize("most", [1, 10_000])
def test_the_final_item_lists_do_not_depend_on_the_number_rewritten_per_batch(
    whole: dict[str, Any],
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    monkeypatch.setattr("operators.personalize.training.items.ITEM_LISTS_MIN", most)
    monkeypatch.setattr("operators.personalize.training.items.EVENTS_PER_ITEM_LIST", 1_000_000)
    assert item_lists(run_flow(SHOP, redis_url, tmp_path)) == item_lists(whole)


def run_cluster(recordings: dict[str, Records], redis_url: str, folder: Path) -> dict[str, Any]:
    """Two workers of one process, into one Redis."""
    settings = flow_settings()
    flow = build(
        RecordedSource(recordings, settings),
        Sinks(
            RedisSink(lambda: Store(redis_url, timeout_ms=2000, patience_s=2)),
            DeadLetterSink(folder / "dead_letters.jsonl"),
        ),
        settings,
        StateStores(),
    )
    epoch = timedelta(milliseconds=settings.source.epoch_ms)
    cluster_main(flow, [], 0, epoch_interval=epoch, worker_count_per_proc=2)
    return content(redis_url)


def test_facts_do_not_depend_on_the_number_of_workers(
    whole: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    rows = run_cluster({"shop": lambda: iter(SHOP)}, redis_url, tmp_path)
    assert facts_of(rows) == facts_of(whole)


def test_one_file_in_two_partitions_gives_the_same_facts(redis_url: str, tmp_path: Path) -> None:
    """Devices without identification; the events of a device are in one partition."""
    stream = [one for one in SHOP if one.user_id is None]
    whole = facts_of(run_flow(stream, redis_url, tmp_path))
    Store(redis_url, timeout_ms=2000, patience_s=2).client.flushall()

    def half(which: int) -> Iterator[Event]:
        return (one for one in stream if keys.change_stream(one.anonymous_id or "") % 2 == which)

    rows = run_cluster({"a": lambda: half(0), "b": lambda: half(1)}, redis_url, tmp_path)
    assert facts_of(rows) == whole


def test_facts_do_not_depend_on_the_order_within_the_lateness(
    whole: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    rows = run_flow(shuffled_within(SHOP, LATENESS_MS - 5000, 1), redis_url, tmp_path)
    assert facts_of(rows) == facts_of(whole)


def test_results_do_not_depend_on_the_hash_seed_of_python(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    """Byte for byte, in a process of its own."""
    script = (
        "import sys, pathlib; from flows.process.embedded_redis import EmbeddedRedis; "
        "from tests.flows.test_dataflow import SHOP, digest, run_flow\n"
        "with EmbeddedRedis() as server:\n"
        "    print(digest(run_flow(SHOP, server.url, pathlib.Path(sys.argv[1]))))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        text=True,
    )
    assert other.stdout.strip() == digest(whole)


def digest(rows: dict[str, Any]) -> str:
    return sha256(rows.items())


def recorded(lines: Sequence[bytes]) -> list[Event | DeadLetter]:
    return list(decode_lines(lines, source="shop", partition="0", first_offset=0, now_ms=START_MS))


def test_bad_input_goes_to_the_dead_letters(redis_url: str, tmp_path: Path) -> None:
    good = msgspec.json.encode(view(1, 0))
    lines = [good, good[:-9], b"\xff", b"[" * 200, good.replace(b"ann", b"null"), b"{}", good]
    rows = run_flow(recorded(lines), redis_url, tmp_path)
    told = figures(rows)
    assert (told["events"], told["accepted"], told["duplicates"]) == (7, 1, 1)
    assert sum(told["rejected"].values()) == 5
    letters = msgspec.json.Decoder(DeadLetter).decode_lines(
        (tmp_path / "dead_letters.jsonl").read_bytes()
    )
    assert [letter.offset for letter in letters] == [1, 2, 3, 4, 5]
    assert told["rejected"]["blocked_id"] == 1


def test_shoppers_with_special_characters_in_their_ids_can_be_read(
    redis_url: str, tmp_path: Path
) -> None:
    names = ["a b", "a:b", "{a}", "}{", "100%", "☃ 🛒", "x" * 128, "🛒" * 128, "top:home"]
    rows = run_flow([view(n, n, name) for n, name in enumerate(names)], redis_url, tmp_path)
    for name in names:
        assert dict(rows[keys.profile_key(name)])[b"views"] == b"1"
        session = dict(rows[keys.session_key(name)])
        assert session[b"id"].decode().rpartition(":")[0] == name
    assert sum(key.endswith("}:profile") for key in rows) == len(names)


def test_an_erased_shopper_is_removed_from_every_key(redis_url: str, tmp_path: Path) -> None:
    """Two shoppers of the shop, one anonymous, one a user; the change streams have a notice."""
    linked = next(one for one in SHOP if one.type == "identify")
    known = {one.anonymous_id for one in SHOP if one.user_id}
    nobody = next(one.anonymous_id for one in SHOP if one.anonymous_id not in {*known, None})
    end_ms = SHOP[-1].event_ts - START_MS
    user, device = linked.user_id, linked.anonymous_id
    stream = [*SHOP, event("erase", "e1", end_ms, nobody)]
    stream.append(event("erase", "e2", end_ms, device, user))
    rows = run_flow(stream, redis_url, tmp_path)
    assert figures(rows)["erased"] == 2
    assert keys.alias_key(str(device)) not in rows
    for name in (str(user), str(nobody)):
        assert not [key for key in rows if key.startswith(keys.shopper_key(name))]
        members = [rows[key] for key in rows if key.endswith("}:members")]
        assert name.encode() not in {member for of_one in members for member, _ in of_one}
        told = [fields for _, fields in rows[keys.changes_key(name)]]
        last = [fields[b"kind"] for fields in told if fields[b"shopper"] == name.encode()][-2:]
        assert last in ([b"leave", b"erase"], [b"erase"])


def test_the_readable_part_of_a_damaged_recording_is_processed(
    redis_url: str, tmp_path: Path
) -> None:
    def damaged() -> Iterator[Event]:
        yield from (view(n, n) for n in range(150))
        raise SourceError("shop.gz is damaged after line 150")

    with pytest.raises(SourceError, match="after line 150"):
        replay_recordings(
            {"shop": damaged}, flow_settings(), redis_url=redis_url, dead_letters=tmp_path / "d"
        )
    assert figures(content(redis_url))["accepted"] == 150


def test_a_recovery_folder_is_for_one_run_at_a_time(redis_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "recovery"
    with (
        open_recovery(folder, flow_settings()),
        pytest.raises(RecoveryError, match="in use by another run: stop it"),
    ):
        run_flow([view(1, 0)], redis_url, tmp_path, recovery_folder=folder)
    (folder / "store" / "part-2.sqlite3").write_bytes(b"something else")
    with pytest.raises(RecoveryError, match=r"part-2.sqlite3: file is not a database.*: restore"):
        run_flow([view(1, 0)], redis_url, tmp_path, recovery_folder=folder)
    (tmp_path / "file").touch()
    with pytest.raises(RecoveryError, match="name a writable one"):
        run_flow([view(1, 0)], redis_url, tmp_path, recovery_folder=tmp_path / "file")


def test_a_dead_letter_file_that_was_emptied_is_not_extended(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.jsonl"
    path.write_bytes(b"12345")
    for size, kept in ((3, b"123"), (9, b"123"), (0, b"")):
        DeadLetterSink(path).build_part("dead_letters", "file", size).close()
        assert path.read_bytes() == kept
