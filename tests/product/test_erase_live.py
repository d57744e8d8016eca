"""A live run forgets: `penstock erase` into the topic, a kill, late events; then no byte of the id."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from kafka import KafkaProducer

from state import keys
from state.store import Store
from tests.live_runs import Live, Process
from tests.product.test_erase_bytes import GONE, ONE, OTHER, USER, named, of_folder, of_redis

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.kafka_broker import AnyBroker

SHOP_MS = 1_767_225_600_000
SETTINGS: dict[str, Any] = {
    "recovery__checkpoint_s": 10,
    "privacy__notice_days": 1,
    "sessions__allowed_lateness_ms": 1000,
}


def tell(live: Live, *events: dict[str, Any]) -> None:
    """Events into the topic, those of a device in one partition."""
    producer = KafkaProducer(bootstrap_servers=live.broker.address)
    for event in events:
        key = str(event.get("anonymous_id") or event["user_id"]).encode()
        producer.send(live.topic, msgspec.json.encode(event), key=key)
    producer.flush()
    producer.close()
    live.sent += len(events)


def of(kind: str, number: int, at_s: int, **more: Any) -> dict[str, Any]:
    return {"event_id": f"z{number}", "type": kind, "event_ts": SHOP_MS + at_s * 1000, **more}


def visit(number: int, at_s: int, **whose: str) -> dict[str, Any]:
    return of("item_view", number, at_s, items=[{"item_id": "mug-0001"}], **whose)


@pytest.mark.slow
def test_after_an_erasure_no_byte_names_the_shopper(
    kafka_broker: AnyBroker, redis_url: str, tmp_path: Path
) -> None:
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    before = [
        visit(1, 10, anonymous_id=ONE),
        of("identify", 2, 11, anonymous_id=ONE, user_id=USER),
        visit(3, 12, anonymous_id=OTHER),
        of("identify", 4, 13, anonymous_id=OTHER, user_id=USER),
        of("purchase", 5, 14, user_id=USER, order_id="o1", value=9.0, items=[{"item_id": "pen"}]),
        {"event_id": "broken", "type": "item_view", "event_ts": "never", "user_id": USER},
    ]
    with Live(kafka_broker, "erasing", redis_url, tmp_path) as live:
        live.send(200)
        tell(live, *before)
        run = live.start(**SETTINGS)
        run.until(lambda: bool(store.client.exists(keys.profile_key(USER))))
        run.until(live.caught_up)
        time.sleep(12)  # a copy is made of it
        where = f"kafka.bootstrap_servers={live.broker.address}"
        words = ["--redis", redis_url, "--set", where, "--set", f"kafka.topic={live.topic}"]
        code, said = Process(["erase", USER, *words]).ended()
        assert (code, "1 erase events sent to topic" in said) == (0, True), said
        live.sent += 1
        run.until(live.caught_up)
        run.until(lambda: not store.client.exists(keys.profile_key(USER)))
        assert not store.client.exists(keys.alias_key(ONE), keys.alias_key(OTHER))
        log = run.kill()
        live.send(100)
        tell(live, *before[:5])  # sent again by a producer that did not hear of it
        again = live.start(**SETTINGS)
        again.until(live.caught_up)
        assert not store.client.exists(keys.profile_key(USER))
        for _ in range(
            20
        ):  # what is stored names whose rows are to go until two epochs have passed
            live.send(20)
            again.until(live.caught_up)
            time.sleep(0.1)
        code, said = again.stop()
        assert code == 0, said
        found = [*named(of_redis(redis_url)), *named(of_folder(tmp_path))]
        found += named(iter([("log", (log + said).encode())]))
    assert found == [], GONE
    store.close()
