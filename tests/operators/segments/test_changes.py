"""The change streams: what an entry says, and the ids of entries."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from operators.segments.changes import ChangeLog, changes_in
from state import keys
from state.changes import Change
from tests.streams import arguments

NAMES = ["ann", "bob", "cat"]


def test_each_change_is_one_entry_in_the_order_of_the_changes() -> None:
    writes = ChangeLog(9).writes(
        [
            Change("enter", "ann", "vip", 5, known=True),
            Change("leave", "ann", "vip", 5),
            Change("merge", "d 1", "ann", 7),
            Change("trigger", "ann", "price-drop", 8, item="mug"),
        ]
    )
    entries = changes_in([("DEL", "other"), *writes])
    assert [{**entry, "id": str(entry["id"]).partition("-")[0]} for entry in entries] == [
        {**common, "version": 1, "event_ts": at_ms, "known": known, "id": str(at_ms), **more}
        for common, at_ms, known, more in (
            ({"kind": "enter", "shopper": "ann", "segment": "vip"}, 5, 1, {}),
            ({"kind": "leave", "shopper": "ann", "segment": "vip"}, 5, 0, {}),
            ({"kind": "merge", "shopper": "d 1", "segment": "ann"}, 7, 0, {}),
            (
                {"kind": "trigger", "shopper": "ann", "segment": "price-drop"},
                8,
                0,
                {"item": "mug"},
            ),
        )
    ]


class TestChanges:
    def test_an_entry_has_shopper_segment_kind_and_time(self) -> None:
        (write,) = ChangeLog(9).writes([Change("enter", "ann", "cluster-1", 5, known=True)])
        said = ("kind", "enter", "shopper", "ann", "segment", "cluster-1", "version", "1")
        packed = arguments(write)
        assert packed == (
            *("XADD", keys.changes_key("ann"), "MAXLEN", "~", "9", packed[5]),
            *(*said, "event_ts", "5", "known", "1"),
        )
        assert str(packed[5]).startswith("5-")

    def test_the_first_entry_of_a_stream_and_batch_trims_it(self) -> None:
        log, change = ChangeLog(9), Change("enter", "ann", "x", 5)
        other = next(
            change._replace(shopper=name)
            for name in ("bob", "cid", "dan")
            if keys.changes_key(name) != keys.changes_key("ann")
        )
        for _ in range(2):
            trims = ["MAXLEN" in arguments(write) for write in log.writes([change, other] * 2)]
            assert trims == [True, True, False, False]
        entries = changes_in(log.writes([change, change._replace(at_ms=6)]))
        assert [(one["shopper"], one["event_ts"]) for one in entries] == [("ann", 5), ("ann", 6)]

    def test_the_same_change_has_the_same_id_and_another_change_another_id(self) -> None:
        entered = Change("enter", "ann", "cluster-1", 5)
        for other in (
            entered._replace(kind="leave"),
            entered._replace(segment="cluster-2"),
        ):
            ids = [
                arguments(ChangeLog(9).writes([change])[0])[5]
                for change in (entered, entered, other)
            ]
        assert ids[0] == ids[1] != ids[2]

    @given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 5)), max_size=20))
    def test_ids_of_a_stream_ascend_even_if_time_does_not(
        self, told: list[tuple[str, int]]
    ) -> None:
        log = ChangeLog(9)
        last: dict[Any, tuple[int, int]] = {}
        for name, at_ms in told:
            write = arguments(log.writes([Change("enter", name, "x", at_ms)])[0])
            ms, _, count = str(write[5]).partition("-")
            assert last.get(write[1], (0, 0)) < (int(ms), int(count))
            last[write[1]] = int(ms), int(count)
            assert int(ms) >= at_ms
