"""The sink for Redis: it writes the commands of batches in order, all of them before an epoch ends."""

from __future__ import annotations

import pytest

from flows.sinks import redis
from flows.sinks.redis import RedisSink
from state.messages import BatchOutput, CounterDeltas
from state.store import Store

COUNTS = CounterDeltas(sums={"events": 1})


def connect(redis_url: str) -> Store:
    return Store(redis_url, timeout_ms=2000, patience_s=2)


@pytest.mark.parametrize("is_measured", [False, True])
def test_writes_of_batches_arrive_in_order_before_the_snapshot(
    redis_url: str, *, is_measured: bool
) -> None:
    sink = RedisSink(lambda: connect(redis_url), is_measured=is_measured)
    assert sink.list_parts() == ["redis"]
    partition = sink.build_part("redis", "redis", None)
    partition.write_batch(
        [
            BatchOutput(
                changes=[("XADD", "ps:1:changes:0", "7-1", "kind", "enter")],
                profiles=[("SET", "ps:1:a", "1")],
                counter_deltas=COUNTS,
            ),
            BatchOutput(
                profiles=[("SET", "ps:1:a", "2")],
                lists=[("SET", "ps:1:b", "3")],
                counter_deltas=COUNTS,
            ),
        ]
    )
    needs_scrub = partition.snapshot()
    client = connect(redis_url).client
    assert client.xrange("ps:1:changes:0") == [(b"7-1", {b"kind": b"enter"})]
    assert client.mget("ps:1:a", "ps:1:b") == [b"2", b"3"]
    assert needs_scrub is False
    partition.close()


def test_a_large_batch_is_sent_by_group_and_a_small_one_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = BatchOutput(changes=[b"1"], profiles=[b"2"], lists=[b"3", b"4"])
    assert [*redis._write_groups(output)] == [
        (["profile", "segments", "list"], [b"1", b"2", b"3", b"4"])
    ]
    monkeypatch.setattr(redis, "SPLIT_ABOVE_WRITES", 4)
    # No write is for segments, so they have no group.
    assert [*redis._write_groups(output)] == [(["profile"], [b"1", b"2"]), (["list"], [b"3", b"4"])]


def test_the_snapshot_asks_for_a_scrub_pass_until_one_is_made_after_an_erasure(
    redis_url: str,
) -> None:
    partition = RedisSink(lambda: connect(redis_url)).build_part("redis", "redis", None)
    partition.write_batch([BatchOutput(erased_shoppers=["ann"])])
    assert partition.snapshot() is True
    partition.close()  # a replay makes the pass at its end
    resumed = RedisSink(lambda: connect(redis_url)).build_part("redis", "redis", True)
    assert resumed.snapshot() is True
    resumed.close()
