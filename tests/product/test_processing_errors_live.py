"""A live run sets an event aside that raises while it is folded, goes on, and starts again past it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from kafka import KafkaProducer

from state import keys
from state.store import Store
from tests.live_runs import Live

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

FAULT = """
from operators.shoppers import profile

count = profile.apply_event

def raising(shopper, session, event):
    if event.event_id == "poison":
        raise ZeroDivisionError("a fault of ours")
    return count(shopper, session, event)

profile.apply_event = raising
"""
"""What every process of the run does at its start."""
SHOP_MS = 1_767_225_600_000


@pytest.mark.slow
def test_an_event_that_raises_is_a_dead_letter_and_all_others_count(
    kafka_broker: AnyBroker, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(FAULT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fault"))
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    with Live(kafka_broker, "poison", redis_url, tmp_path) as live:
        live.send(100)
        producer = KafkaProducer(bootstrap_servers=live.broker.address)
        event = {"event_id": "poison", "type": "page_view", "event_ts": SHOP_MS, "user_id": "ann"}
        sent = producer.send(live.topic, msgspec.json.encode(event), partition=1).get(30)
        producer.close()
        live.sent += 1
        live.send(100)
        run = live.start()
        run.until(lambda: bool(store.client.exists(keys.meta_key())))
        run.until(live.caught_up)
        time.sleep(1)
        log = run.kill()
        live.send(100)
        again = live.start()
        again.until(live.caught_up)
        code, said = again.stop()
        assert code == 0, said
        meta = live.meta()
        letters = (tmp_path / "dead-letters.jsonl").read_text().splitlines()
    assert (meta["accepted"], meta["duplicates"]) == (300, 0)
    assert meta["rejected"] == {"processing_error": 1}
    (letter,) = map(json.loads, letters)
    assert letter["failure_type"] == "processing_error"
    place = (letter["source"], letter["partition"], letter["offset"])
    assert place == (live.topic, "1", sent.offset)
    assert json.loads(letter["raw"])["event_id"] == "poison"
    assert "ZeroDivisionError: a fault of ours" in log + said
    assert not store.client.exists(keys.profile_key("ann"))
    store.close()
