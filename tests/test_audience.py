"""Segments: who is in which, who enters and leaves, and what each is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.audience import Audience, Change, definitions
from operators.cards import Cards
from operators.changes import ChangeLog
from state import keys
from state.events import Item
from state.interactions import NOBODY
from state.shopper import MICROS
from state.times import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from state.messages import Write

NAMES = ["ann", "bob", "cat"]


def assign(
    audience: Audience, clusters: dict[str, int], at_ms: int = 0
) -> tuple[list[Write], list[Change]]:
    names = list(clusters)
    return audience.assign(
        names,
        np.array([NAMES.index(name) for name in names], np.int32),
        [name == "bob" for name in names],
        np.array(list(clusters.values()), np.int16),
        np.full(len(names), at_ms, np.int64),
    )


def stats(audience: Audience, now_ms: int) -> list[dict[str, Any]]:
    found = []
    for n, write in enumerate(audience.stats(now_ms, 7)):
        assert write[:2] == ("HSET", keys.stats_key(f"cluster-{n}"))
        found.append(fields(write))
    return found


def fields(write: Write) -> dict[str, Any]:
    """What an HSET sets."""
    return {str(name): value for name, value in zip(write[2::2], write[3::2], strict=True)}


def test_a_shopper_enters_a_segment() -> None:
    writes, changes = assign(Audience(2), {"ann": 1}, at_ms=5)
    assert changes == [Change("enter", "ann", "cluster-1", 5)]
    assert writes == [
        ("HSET", keys.segments_key("ann"), "cluster-1", 5),
        ("EXPIRE", keys.segments_key("ann"), 90 * 86_400),
        ("ZADD", keys.members_key("cluster-1"), 5, "ann"),
    ]


def test_a_shopper_leaves_one_segment_for_another() -> None:
    audience = Audience(2)
    assign(audience, {"ann": 1, "bob": 0}, at_ms=5)
    writes, changes = assign(audience, {"ann": 0, "bob": 0}, at_ms=9)
    assert changes == [
        Change("leave", "ann", "cluster-1", 9),
        Change("enter", "ann", "cluster-0", 9),
    ]
    assert writes == [
        ("HDEL", keys.segments_key("ann"), "cluster-1"),
        ("ZREM", keys.members_key("cluster-1"), "ann"),
        ("HSET", keys.segments_key("ann"), "cluster-0", 9),
        ("EXPIRE", keys.segments_key("ann"), 90 * 86_400),
        ("ZADD", keys.members_key("cluster-0"), 9, "ann"),
    ]


def test_who_stays_is_written_once_a_day_so_that_the_key_lives() -> None:
    audience = Audience(2)
    assign(audience, {"ann": 1})
    assert assign(audience, {"ann": 1}, at_ms=DAY_MS - 1) == ([], [])
    expire = ("EXPIRE", keys.segments_key("ann"), 90 * 86_400)
    assert assign(audience, {"ann": 1}, at_ms=DAY_MS) == ([expire], [])


def test_before_the_clusters_start_nobody_is_in_any() -> None:
    audience = Audience(2)
    assert assign(audience, {"ann": NOBODY}) == ([], [])
    assert audience.segments_of(np.array([0, 99], np.int32)) == [None, None]


def test_who_is_no_more_leaves() -> None:
    audience = Audience(2)
    assign(audience, {"ann": 1})
    assert audience.drop(0, "ann", 9) == (
        [("ZREM", keys.members_key("cluster-1"), "ann")],
        [Change("leave", "ann", "cluster-1", 9)],
    )
    assert audience.drop(0, "ann", 9) == audience.drop(99, "dan", 9) == ([], [])
    assert [one["size"] for one in stats(audience, 9)] == [0, 0]


def test_the_figures_of_a_segment() -> None:
    audience = Audience(2)
    now_ms = 30 * DAY_MS
    assign(audience, {"cat": 0}, at_ms=now_ms - 2 * DAY_MS)
    assign(audience, {"ann": 0, "bob": 0}, at_ms=now_ms - MINUTE_MS)
    audience.order(1, 30 * MICROS, now_ms - HOUR_MS)
    audience.order(1, 5 * MICROS, now_ms)
    audience.order(2, 99 * MICROS, now_ms - 2 * DAY_MS)
    assign(audience, {"ann": 1}, at_ms=now_ms)
    assert stats(audience, now_ms) == [
        {
            "size": 2,
            "identified": 1,
            "entered_5m": 2,
            "left_5m": 1,
            "conversion_1d": "1.0000",
            "revenue_1d": "35.00",
            "aov_1d": "17.50",
            "watermark_ms": 7,
            "at": now_ms,
        },
        {
            "size": 1,
            "identified": 0,
            "entered_5m": 1,
            "left_5m": 0,
            "conversion_1d": "0.0000",
            "revenue_1d": "0.00",
            "aov_1d": "0.00",
            "watermark_ms": 7,
            "at": now_ms,
        },
    ]


steps = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2), min_size=1),
        st.integers(0, 3 * HOUR_MS),
        st.sampled_from(["assign", "drop", "order"]),
    ),
    max_size=12,
)


@given(steps, st.integers(0, 12))
def test_memberships_are_what_the_writes_say_and_survive_a_restart(
    taken: list[tuple[dict[str, int], int, str]], restart_at: int
) -> None:
    audience, members, at_ms = Audience(3), dict[str, str](), 0
    for n, (clusters, later_ms, what) in enumerate(taken):
        at_ms += later_ms
        if n == restart_at:
            stored, audience = audience.arrays(), Audience(3)
            audience.restore(stored)
        changes: list[Change] = []
        for name in clusters:
            if what == "drop":
                changes += audience.drop(NAMES.index(name), name, at_ms)[1]
            elif what == "order":
                audience.order(NAMES.index(name), MICROS, at_ms)
        if what == "assign":
            changes += assign(audience, clusters, at_ms)[1]
        for change in changes:
            if change.kind == "leave":
                assert members.pop(change.shopper) == change.segment
            else:
                assert members.setdefault(change.shopper, change.segment) == change.segment
    sizes = [one["size"] for one in stats(audience, at_ms)]
    assert sizes == [list(members.values()).count(f"cluster-{n}") for n in range(3)]
    rows = np.arange(len(NAMES), dtype=np.int32)
    assert audience.segments_of(rows) == [members.get(name) for name in NAMES]


def test_a_segment_says_what_it_is() -> None:
    (definition, entry) = definitions({1: ("keen", 2)}, 9)
    assert definition[:2] == ("HSET", keys.definition_key("cluster-1"))
    assert fields(definition) == {
        "name": "keen",
        "kind": "cluster",
        "description": "Shoppers alike in how they visit and buy, found by clustering.",
        "version": 2,
        "status": "live",
        "rule": "nearest centre",
        "updated_ms": 9,
    }
    summary = '{"kind":"cluster","version":2,"status":"live","name":"keen"}'
    assert entry == ("HSET", keys.registry_key(), "cluster-1", summary)


class TestChanges:
    def test_an_entry_says_who_did_what_when(self) -> None:
        (write,) = ChangeLog(9).writes([Change("enter", "ann", "cluster-1", 5)])
        said = ("kind", "enter", "shopper", "ann", "segment", "cluster-1", "version", 1)
        assert write == (
            *("XADD", keys.changes_key("ann"), "MAXLEN", "~", 9, write[5]),
            *(*said, "event_ts", 5),
        )
        assert str(write[5]).startswith("5-")

    def test_the_same_change_told_again_has_the_same_id_and_another_one_another(self) -> None:
        entered = Change("enter", "ann", "cluster-1", 5)
        for other in (
            entered._replace(kind="leave"),
            entered._replace(segment="cluster-2"),
        ):
            ids = [ChangeLog(9).writes([change])[0][5] for change in (entered, entered, other)]
            assert ids[0] == ids[1] != ids[2]

    @given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 5)), max_size=20))
    def test_ids_of_a_stream_rise_even_where_time_does_not(
        self, told: list[tuple[str, int]]
    ) -> None:
        log = ChangeLog(9)
        last: dict[Any, tuple[int, int]] = {}
        for name, at_ms in told:
            (write,) = log.writes([Change("enter", name, "x", at_ms)])
            ms, _, count = str(write[5]).partition("-")
            assert last.get(write[1], (0, 0)) < (int(ms), int(count))
            last[write[1]] = int(ms), int(count)
            assert int(ms) >= at_ms


class TestCards:
    def card(self, cards: Cards) -> dict[str, Any]:
        (card, expire) = cards.writes()
        assert (card[:2], expire[0]) == (("HSET", keys.card_key("mug")), "EXPIRE")
        return fields(card)

    def test_a_card_is_written_when_it_changed(self) -> None:
        cards, mug = Cards(), Item("mug", ("home", "mugs"), "Kiln", "Mug", 9.5)
        cards.learn([(1, mug, "EUR")])
        assert self.card(cards) == {
            "available": 1,
            "name": "Mug",
            "category": "home/mugs",
            "brand": "Kiln",
            "price": "9.50",
            "currency": "EUR",
        }
        cards.learn([(2, mug, ""), (3, mug, "EUR"), (3, Item("mug"), "")])
        assert cards.writes() == []
        cards.learn([(4, Item("mug", available=False), "")])
        assert self.card(cards)["available"] == 0

    def test_what_is_older_does_not_replace_what_is_newer(self) -> None:
        cards = Cards()
        cards.learn([(1, Item("mug", price=5.0), ""), (9, Item("mug", price=5.0), "")])
        cards.learn([(7, Item("mug", price=4.0), "")])
        assert self.card(cards)["price"] == "5.00"

    def test_another_currency_is_a_change(self) -> None:
        cards = Cards()
        for currency in ("EUR", "CHF"):
            cards.learn([(1, Item("mug", price=5.0), currency)])
            assert self.card(cards)["currency"] == currency
