"""The product under evaluation is the product: after the same events, the same lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.evaluation.clicks import RawClick, collect
from operators.evaluation.competitors import ProtocolOptions, Request
from operators.evaluation.formats import RawCase
from operators.evaluation.held_out import split
from operators.evaluation.prequential import prequential
from operators.evaluation.product_recommender import ProductRecommender
from operators.evaluation.sessions import SessionTracker
from operators.recommend.standalone import StandaloneRecommender
from state import config_lists
from state.arrays import NO_ROW
from state.interactions import VIEW, EventColumns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.evaluation.clicks import ClickStream

VISITS = ["mug cup pot", "mug cup", "pot mug cup", "cup pot", "mug pot lid", "lid cup mug"] * 3
RAW = [
    RawClick(f"s{shopper}", item, at_ms=1_000_000 * shopper + 1000 * place)
    for shopper, visit in enumerate(VISITS)
    for place, item in enumerate(visit.split())
]
START_MS = {click.shopper: click.at_ms for click in reversed(RAW)}


def product_that_learned(clicks: ClickStream) -> ProductRecommender:
    product, sessions = (
        ProductRecommender(StandaloneRecommender.from_config(config_lists.Lists(k=5)), clicks),
        SessionTracker(gap_ms=None),
    )
    for click in clicks:
        session = sessions.current_session(click)
        product.learn(click, session)
        session.items.append(click.item)
    return product


def recommender_that_learned(raw: list[RawClick]) -> StandaloneRecommender:
    recommender = StandaloneRecommender.from_config(config_lists.Lists(k=5))
    recommender.learn(
        EventColumns(
            shoppers=[click.shopper for click in raw],
            items=[click.item for click in raw],
            kinds=[VIEW] * len(raw),
            weights=[1.0] * len(raw),
            at_ms=[click.at_ms for click in raw],
            session_start_ms=[START_MS[click.shopper] for click in raw],
            categories=[None] * len(raw),
            segments=[None] * len(raw),
        )
    )
    return recommender


def ids(clicks: ClickStream, listed: Iterable[int]) -> list[str]:
    return [clicks.items.ids[item] for item in listed]


def test_the_blend_is_the_list_a_storefront_would_read() -> None:
    clicks, now_ms = collect(RAW), RAW[-1].at_ms
    product, recommender = product_that_learned(clicks), recommender_that_learned(RAW)
    for name in ["s0", "s2", "s4", "s17"]:
        request = Request(clicks.shoppers.get(name), (), now_ms, frozenset())
        shown = recommender.rank([name], now_ms).entries()[0]
        assert ids(clicks, product.recommend([request], 5)[0]["blend"]) == [
            item for item, _, _ in shown
        ]


def test_an_unknown_shopper_with_a_session_gets_the_list_of_that_session() -> None:
    clicks, now_ms = collect(RAW), RAW[-1].at_ms
    product = product_that_learned(clicks)
    shopper = Request(clicks.shoppers.get("s17"), (), now_ms, frozenset())
    session = [clicks.items.get(item) for item in ["lid", "cup", "mug"]]
    stranger = Request(NO_ROW, session, now_ms, frozenset())
    answers = product.recommend([shopper, stranger], 5)
    assert answers[0]["covisitation"] == answers[1]["covisitation"] != []


def test_banned_items_are_left_out_and_the_rest_moves_up() -> None:
    clicks, now_ms = collect(RAW), RAW[-1].at_ms
    product = product_that_learned(clicks)
    had = frozenset({clicks.items.get("mug"), clicks.items.get("cup")})
    lists = product.recommend([Request(clicks.shoppers.get("s17"), (), now_ms, had)], 2)[0]
    listed = {name: sorted(ids(clicks, of)) for name, of in lists.items()}
    assert listed.pop("again") == listed.pop("often") == ["lid"]
    assert listed.pop("content") == []  # these clicks tell nothing of items
    assert listed == {name: ["lid", "pot"] for name in listed}
    assert {"blend", "live-popularity", "covisitation"} <= set(lists)


def test_both_protocols_score_every_learner_on_every_case() -> None:
    clicks = collect(RAW)
    live = prequential(
        clicks,
        [ProductRecommender(StandaloneRecommender.from_config(config_lists.Lists(k=5)), clicks)],
        ProtocolOptions(k=5, known=True),
    )
    assert {len(ranks) for ranks in live.ranks.values()} == {len(RAW) - len(VISITS)}
    cases = [RawCase(("mug",), "cup"), RawCase(("never", "seen"), "cup"), RawCase((), "pot")]
    fixed = split(
        clicks,
        cases,
        [ProductRecommender(StandaloneRecommender.from_config(config_lists.Lists(k=5)), clicks)],
        ProtocolOptions(k=5),
    )
    assert {len(ranks) for ranks in fixed.ranks.values()} == {3}


def test_another_configuration_gives_its_blend_only() -> None:
    clicks = collect(RAW)
    rivals = [
        ProductRecommender(StandaloneRecommender.from_config(config_lists.Lists(k=5)), clicks),
        ProductRecommender(
            StandaloneRecommender.from_config(config_lists.Lists(k=5)), clicks, blend_name="other"
        ),
    ]
    outcome = prequential(clicks, rivals, ProtocolOptions(k=5))
    assert outcome.ranks["other"] == outcome.ranks["blend"]
    assert [name for name in outcome.ranks if name not in rivals[0]._names] == ["blend", "other"]
