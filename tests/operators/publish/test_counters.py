"""The ledger: what went in equals what came out, whoever counted it, in whatever order."""

from __future__ import annotations

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st

from operators.publish.counters import Counters
from operators.publish.digest import deterministic_rows
from state import keys
from state.messages import BatchId, ShardOutput, ShardTotals, SourceTotals
from state.snapshots import CountersState


def visited(
    partition: str, shard: str, totals: ShardTotals, source: SourceTotals | None = None
) -> ShardOutput:
    sources = {} if source is None else {partition: source}
    return ShardOutput(
        BatchId(partition, 0), 0, 0, last=False, totals={shard: totals}, source_totals=sources
    )


def test_the_newest_sums_of_each_shard_and_partition_are_added_up() -> None:
    ledger = Counters()
    ledger.update(visited("a", "devices:0", ShardTotals(1, 1), SourceTotals(3, {"not_json": 1})))
    ledger.update(visited("a", "devices:0", ShardTotals(5, 2), SourceTotals(9, {"not_json": 2})))
    ledger.update(visited("b", "users:0", ShardTotals(4), SourceTotals(4, {}, {"search": 4})))
    figures = ledger.totals_by_name()
    assert (figures["events"], figures["accepted"], figures["duplicates"]) == (13, 9, 2)
    assert (figures["rejected"], figures["by_type"]) == ({"not_json": 2}, {"search": 4})


def test_the_figures_are_fields_of_the_meta_key() -> None:
    ledger = Counters()
    ledger.update(
        visited("a", "devices:0", ShardTotals(2), SourceTotals(3, {"not_json": 1}, {"search": 2}))
    )
    write = ledger.meta_write(7, 5)
    assert write[:2] == ("HSET", keys.meta_key())
    fields = dict(zip(write[2::2], write[3::2], strict=True))
    assert (fields["contract"], fields["watermark_ms"], fields["items"]) == ("1.0", 7, 5)
    assert (fields["events"], fields["accepted"]) == (3, 2)
    assert orjson.loads(str(fields["rejected"])) == {"not_json": 1}
    # What raised is a kind of what was rejected.
    assert set(ShardTotals.__struct_fields__) - {"failed"} < set(fields)


counts = st.integers(0, 99)
heard = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["devices:0", "devices:1", "users:0"]),
        st.builds(ShardTotals, counts, counts, counts),
        st.none() | st.builds(SourceTotals, counts, st.dictionaries(st.sampled_from("xy"), counts)),
    ),
    max_size=9,
)


@given(heard, st.integers(0, 9))
def test_a_ledger_that_is_stored_and_restored_goes_on(
    told: list[tuple[str, str, ShardTotals, SourceTotals | None]], restart_at: int
) -> None:
    whole, cut = Counters(), Counters()
    for n, one in enumerate(told):
        if n == restart_at:
            stored = msgspec.msgpack.encode(cut.state())
            cut = Counters.from_state(msgspec.msgpack.decode(stored, type=CountersState))
        whole.update(visited(*one))
        cut.update(visited(*one))
        whole.lists_written += 1
        cut.lists_written += 1
    assert cut.totals_by_name() == whole.totals_by_name()


def test_facts_leave_out_what_was_learned() -> None:
    rows = [
        (
            keys.profile_key("ann"),
            [(b"cluster", b"x"), (b"cluster_distance", b"1"), (b"views", b"2")],
        ),
        (keys.segments_key("ann"), [(b"x", b"1")]),
        (keys.session_key("ann"), [(b"events", b"1")]),
        (keys.top_key("ann", "home"), b"[]"),
        (keys.alias_key("device"), b"ann"),
        (keys.members_key("x"), [(b"ann", 1.0)]),
        (keys.meta_key(), [(b"accepted", b"2"), (b"events", b"2"), (b"lists_written", b"1")]),
    ]
    assert list(deterministic_rows(rows)) == [
        (keys.profile_key("ann"), [(b"views", b"2")]),
        (keys.session_key("ann"), [(b"events", b"1")]),
        (keys.alias_key("device"), b"ann"),
        (keys.meta_key(), [(b"accepted", b"2"), (b"events", b"2")]),
    ]
