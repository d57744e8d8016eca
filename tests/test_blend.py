"""The blend: one list out of several, led by who hits."""

from __future__ import annotations

import numpy as np
import pytest

from operators.blend import WATCHED, Blend
from operators.captions import reason_row
from operators.ranking import best_items, without
from state.interactions import NOBODY, Interactions, Lists, Requests, empty_lists

A, B, C, D, E = range(5)


def listed(*rows: list[int], because: int = NOBODY) -> Lists:
    lists = empty_lists(len(rows), 3)
    for row, items in enumerate(rows):
        lists.item[row, : len(items)] = items
        lists.score[row, : len(items)] = np.arange(len(items), 0, -1)
        lists.because[row, : len(items)] = because
    return lists


def asked(*shoppers: int) -> Requests:
    n = len(shoppers)
    return Requests(
        np.array(shoppers, np.int32), np.full((n, 1), NOBODY, np.int32), np.zeros(n, np.int64)
    )


def clicks(*pairs: tuple[int, int]) -> Interactions:
    shopper, item = np.array(pairs, np.int32).T
    n = len(pairs)
    return Interactions(
        shopper,
        item,
        np.zeros(n, np.int8),
        np.ones(n, np.float32),
        np.zeros(n, np.int64),
        np.full((n, 1), NOBODY, np.int32),
    )


def two(sharpness: float = 1.0, beliefs: tuple[float, float] = (0.6, 0.2)) -> Blend:
    return Blend(("first", "second"), beliefs, depth=3, sharpness=sharpness)


def entries(lists: Lists) -> list[tuple[int, float, int]]:
    columns = (lists.item[0], lists.score[0], lists.because[0])
    return [
        (item, round(score, 3), because)
        for item, score, because in zip(*(column.tolist() for column in columns), strict=True)
    ]


def test_an_item_adds_its_weight_over_its_place_in_each_list() -> None:
    mixed = two().mix([listed([A, B]), listed([B, C])], k=4)
    assert entries(mixed) == [
        (A, 0.75, reason_row(0)),
        (B, 0.625, reason_row(0)),
        (C, 0.125, reason_row(1)),
        (NOBODY, 0.0, NOBODY),
    ]


def test_the_reason_is_that_of_the_list_that_added_most() -> None:
    mixed = two().mix([listed([A, B], because=E), listed([C, B], because=D)], k=3)
    assert [(item, because) for item, _, because in entries(mixed)] == [(A, E), (B, E), (C, D)]


def test_hidden_items_leave_no_gap() -> None:
    hidden = np.array([[B, NOBODY]], np.int32)
    assert entries(without(listed([A, B, C], because=E), hidden)) == [
        (A, 3.0, E),
        (C, 1.0, E),
        (NOBODY, 0.0, NOBODY),
    ]


def test_who_hits_leads() -> None:
    blend = two(sharpness=2.0, beliefs=(0.5, 0.5))
    assert blend.weights().tolist() == [0.5, 0.5]
    for _ in range(500):
        blend.stand(asked(7), [listed([A, B, C]), listed([D])])
        blend.judge(clicks((7, D)))
    assert blend.hit_rates()["first"] < 0.03 < 0.97 < blend.hit_rates()["second"]
    assert entries(blend.mix([listed([A]), listed([D])], 2))[0][0] == D


def test_no_learner_falls_silent() -> None:
    blend = two(sharpness=50.0, beliefs=(0.5, 0.5))
    blend.stand(asked(7), [listed([A]), listed([D])])
    blend.judge(clicks(*[(7, A)] * 1000))
    assert [item for item, *_ in entries(blend.mix([listed([A]), listed([D])], 2))] == [A, D]


def test_only_lists_that_stood_are_judged_and_nobody_leaves_none() -> None:
    blend = two()
    blend.stand(asked(7, NOBODY), [listed([A], [B]), listed([A], [B])])
    before = blend.hit_rates()
    blend.judge(clicks((8, A), (7 + WATCHED, A)))
    assert blend.hit_rates() == before


def test_of_two_shoppers_with_one_place_the_later_one_is_watched() -> None:
    blend = two()
    blend.stand(asked(7, 7 + WATCHED), [listed([A], [B]), listed([A], [B])])
    before = blend.hit_rates()
    blend.judge(clicks((7, B)))
    assert blend.hit_rates() == before
    blend.judge(clicks((7 + WATCHED, B)))
    assert blend.hit_rates()["first"] > before["first"]


def test_a_restored_blend_judges_on() -> None:
    blend, restored = two(), two()
    blend.stand(asked(7), [listed([A]), listed([D])])
    restored.restore(blend.arrays())
    for one in (blend, restored):
        one.judge(clicks((7, D)))
    assert restored.hit_rates() == blend.hit_rates()


@pytest.mark.parametrize("beliefs", [(1, 1, 1), (1, 0), (1,)])
def test_each_learner_needs_a_belief_above_nothing(beliefs: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="belief above 0"):
        Blend(("first", "second"), beliefs)


def test_scores_of_an_item_are_summed_and_ties_go_to_the_lower_row() -> None:
    item = np.array([[D, A, B, A, NOBODY, C]], np.int32)
    score = np.array([[1, 1, 2, 3, 9, 0]], np.float32)
    because = np.array([[10, 11, 12, 13, 14, 15]], np.int32)
    assert entries(best_items(item, score, because, 4, repeats=2)) == [
        (A, 4.0, 13),
        (B, 2.0, 12),
        (D, 1.0, 10),
        (NOBODY, 0.0, NOBODY),
    ]


def test_a_learner_that_hardly_counts_is_judged_by_a_sample_and_can_come_back() -> None:
    blend = Blend(("first", "second"), (0.6, 0.2), depth=3, sharpness=8.0, memory=200)
    everyone = asked(7, 8)
    for _ in range(300):
        blend.stand(everyone, [listed([A], [A]), listed([D], [D])])
        blend.judge(clicks((7, A), (8, A)))
    assert blend.faint() == [False, True]
    blend.stand(everyone, [listed([A], [A]), listed([D], [])], np.array([True, False]))
    assert blend.watched[[7, 8]].tolist() == [7, NOBODY]
    for _ in range(300):
        blend.stand(everyone, [listed([A], [A]), listed([D], [])], np.array([True, False]))
        blend.judge(clicks((7, D), (8, D)))
    assert blend.faint() == [True, False]
