"""The watermark of a shard: the minimum over the partitions that go on."""

from __future__ import annotations

from operators.shards.watermark import Watermark
from state.messages import BatchId


class TestWatermark:
    def test_it_is_the_minimum_once_all_partitions_have_sent_a_batch(self) -> None:
        watermark = Watermark({})
        heard = [("a", 50), ("a", 60), ("b", 20), ("b", 70), ("a", 90)]
        assert [watermark.update(BatchId(p, 0, ms, False, 2)) for p, ms in heard] == [
            0,
            0,
            20,
            60,
            70,
        ]

    def test_a_partition_at_its_end_holds_nothing_back(self) -> None:
        watermark = Watermark({})
        heard = [("a", 50, False), ("b", 20, True), ("a", 60, False), ("a", 90, True)]
        assert [watermark.update(BatchId(p, 0, ms, last, 2)) for p, ms, last in heard] == [
            0,
            50,
            60,
            90,
        ]
