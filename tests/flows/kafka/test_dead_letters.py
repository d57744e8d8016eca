"""Dead letters into a topic and back, and changes into theirs."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition

from flows.cluster.run_context import RunContext
from flows.commands import cli
from flows.kafka.producer import Producer
from flows.kafka.sinks import change_topic
from flows.runtime.live import run_live
from serving.reader import Storefront
from state import config_loader
from state.dead_letters import RAW_BYTES_MAX, DeadLetter
from state.errors import LeaseError, SourceError
from state.store import Fence, Store
from tests.kafka_runs import NOW_MS, event, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kafka_broker import AnyBroker


def records_of(broker: AnyBroker, topic: str) -> list[Any]:
    """All that a topic of one partition holds."""
    with closing(KafkaConsumer(bootstrap_servers=broker.address)) as client:
        one = TopicPartition(topic, 0)
        client.assign([one])
        client.seek_to_beginning(one)
        end = client.end_offsets([one])[one]
        found: list[Any] = []
        while client.position(one) < end:
            for records in client.poll(timeout_ms=1000).values():
                found += records
        return found


class Live:
    """A live run over topics of its own, until what it is to show is there."""

    def __init__(self, broker: AnyBroker, redis_url: str, folder: Path) -> None:
        self.broker = broker
        self.redis_url = redis_url
        self.folder = folder
        self.events = broker.create_topic("live", partitions=1)
        self.letters = broker.create_topic("letters", partitions=1)
        self.changes = broker.create_topic("changes", partitions=1)
        self.store = Store(redis_url, timeout_ms=5000, patience_s=0)

    def sets(self, *overrides: str) -> list[str]:
        names = {
            "bootstrap_servers": self.broker.address,
            "topic": self.events,
            "group": self.events,
            "dead_letters": self.letters,
            "changes": self.changes,
        }
        return [*(f"kafka.{name}={value}" for name, value in names.items()), *overrides]

    def redrive(self, *options: str) -> int:
        common = [part for one in self.sets() for part in ("--set", one)]
        return cli.main(["redrive", *common, *options])

    def figure(self, name: str) -> Any:
        return json.loads(Storefront(self.store).counters().get(name, "0"))

    def until(self, is_enough: Callable[[], bool], *overrides: str) -> None:
        stop = threading.Event()
        end_s = time.monotonic() + 120
        gave_up: list[bool] = []

        def watch() -> None:
            try:
                while not is_enough() and not gave_up:
                    if time.monotonic() > end_s:
                        gave_up.append(True)
                    time.sleep(0.05)
            finally:
                stop.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        settings = config_loader.load(
            overrides=(*self.sets(), "source.epoch_ms=100", "metrics.listen=''", *overrides),
            environment={},
        )
        folder = self.folder
        run_live(
            RunContext(
                settings, self.redis_url, stop, folder / "letters.jsonl", folder / "recovery"
            )
        )
        watcher.join()
        assert not gave_up


@pytest.fixture
def live(kafka_broker: AnyBroker, redis_url: str, tmp_path: Path) -> Live:
    return Live(kafka_broker, redis_url, tmp_path)


def test_records_rejected_for_a_wrong_format_are_redriven_and_counted_once(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    send(live.broker, live.events, map(event, range(20)))
    live.until(lambda: bool(live.figure("rejected")), "kafka.format=segment")
    letters = [
        msgspec.json.decode(one.value, type=DeadLetter)
        for one in records_of(live.broker, live.letters)
    ]
    assert [letter.offset for letter in letters] == list(range(20))
    assert live.figure("accepted") == 0
    kind = letters[0].failure_type

    assert live.redrive("--type", kind, "--dry-run") == 0
    assert "20 letters would be sent" in capsys.readouterr().out
    assert live.redrive("--type", kind, "--since", "2100-01-01") == 0
    assert "20 of another type or time" in capsys.readouterr().out
    assert len(records_of(live.broker, live.events)) == 20

    for _ in range(2):
        assert live.redrive("--type", kind, "--since", "2020-01-01T00:00:00Z") == 0
    redriven = records_of(live.broker, live.events)[20:]
    assert [one.value for one in redriven] == [event(n) for n in range(20)] * 2
    assert redriven[3].headers == [("penstock-redriven", f"{live.events}/0/3".encode())]
    assert redriven[3].key == b"visitor-3"
    live.until(lambda: bool(live.figure("duplicates") == 20))
    assert live.figure("accepted") == 20


def test_the_topic_of_changes_equals_the_change_streams(live: Live) -> None:
    events = [
        msgspec.json.encode(
            {"event_id": str(n), "event_ts": NOW_MS + n, "anonymous_id": "ann", **what}
        )
        for n, what in enumerate(
            ({"type": "page_view"}, {"type": "identify", "user_id": "u1"}, {"type": "erase"})
        )
    ]
    send(live.broker, live.events, events)
    live.until(lambda: live.figure("events") == 3)
    told = [(one.key, json.loads(one.value)) for one in records_of(live.broker, live.changes)]
    in_redis = []
    for key in live.store.client.scan_iter("ps:1:changes:*"):
        for entry, fields in live.store.client.xrange(key):
            plain = {name.decode(): value.decode() for name, value in fields.items()}
            in_redis.append({"id": entry.decode(), **plain})
    assert {change["kind"] for _, change in told} >= {"merge", "erase"}
    # Redis has no entry from before the erasure; the topic still has all of them.
    ids = {change["id"] for _, change in told}
    assert {change["id"] for change in in_redis} <= ids
    assert {"erase"} <= {change["kind"] for change in in_redis}
    assert all(key.decode() == change["shopper"] for key, change in told)


def test_a_run_that_lost_its_lease_sends_no_more_changes(live: Live) -> None:
    settings = config_loader.load(overrides=tuple(live.sets()), environment={})
    fence = Fence("shop", 5)

    def verify() -> None:
        fence.verify(live.store.get_strings([fence.token_key])[0])

    part = change_topic(settings.kafka, verify).build_part("changes", "topic", None)
    part.write_batch([[{"shopper": "ann", "kind": "enter"}]])
    part.snapshot()
    live.store.client.set(fence.token_key, 6)
    with pytest.raises(LeaseError, match="another run took over shop"):
        part.write_batch([[{"shopper": "bob", "kind": "enter"}]])
    part.close()
    assert [one.key for one in records_of(live.broker, live.changes)] == [b"ann"]


def test_a_letter_with_a_cut_record_is_counted_and_not_redriven(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.jsonl"
    whole = DeadLetter(
        failure_type="too_large", errors=(), source="s", partition="0", offset=1, raw="{}"
    )
    cut = msgspec.structs.replace(whole, offset=2, raw="x" * RAW_BYTES_MAX)
    file.write_bytes(msgspec.json.Encoder().encode_lines([whole, cut, whole]))
    assert live.redrive("--from", str(file)) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 letters sent")
    assert "1 not (too large to be kept whole), 1 were repeated" in out
    assert [one.value for one in records_of(live.broker, live.events)] == [b"{}"]


def test_a_missing_topic_to_write_to_is_a_clear_error(live: Live) -> None:
    settings = config_loader.load(overrides=tuple(live.sets()), environment={})
    with pytest.raises(SourceError, match="has no topic penstock-nowhere: create it"):
        Producer(settings.kafka, "penstock-nowhere")
