"""Which cases are scored and on which list: whole transcripts and whole reports of tiny streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.evaluation.baselines import BaselineCompetitor
from operators.evaluation.clicks import RawClick, collect
from operators.evaluation.competitors import ProtocolOptions
from operators.evaluation.event_clicks import clicks_from_events
from operators.evaluation.formats import RawCase
from operators.evaluation.held_out import leave_one_out, split
from operators.evaluation.prequential import prequential
from operators.evaluation.results import NEVER
from state.config_lists import Weights
from state.dead_letters import DeadLetter
from state.events import Event, Item
from state.interactions import CART, PURCHASE, VIEW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from operators.evaluation.clicks import ClickStream, StreamClick
    from operators.evaluation.competitors import Request
    from operators.evaluation.sessions import ClickSession
    from state.events import EventType

MINUTE_MS = 60_000


def stream(text: str, minutes: int = 1) -> list[RawClick]:
    """`ann:mug bob:cup` as clicks, one after another."""
    who_and_what = [word.split(":") for word in text.split()]
    return [
        RawClick(who, what, n * minutes * MINUTE_MS) for n, (who, what) in enumerate(who_and_what)
    ]


class Transcript:
    """A rival that writes down, in words, all it is asked and told."""

    def __init__(self, clicks: ClickStream) -> None:
        self.clicks = clicks
        self.lines: list[str] = []

    def learn(self, click: StreamClick, session: ClickSession) -> None:
        self.lines.append(
            f"learn {self.who(click.shopper)} {self.ids([click.item])} after {self.ids(session.items)}"
        )

    def recommend(self, requests: Sequence[Request], k: int) -> list[dict[str, list[int]]]:
        for request in requests:
            without = f" without {self.ids(sorted(request.without))}" if request.without else ""
            self.lines.append(
                f"list {self.who(request.shopper)} {self.ids(request.session)}{without}"
            )
        return [{"transcript": []} for _ in requests]

    def who(self, shopper: int) -> str:
        return "stranger" if shopper < 0 else self.clicks.shoppers.ids[shopper]

    def ids(self, items: Iterable[int]) -> str:
        return (
            "+".join("?" if item < 0 else self.clicks.items.ids[item] for item in items)
            or "nothing"
        )


def transcript(text: str, rules: ProtocolOptions, minutes: int = 1) -> tuple[list[str], int]:
    clicks = collect(stream(text, minutes))
    rival = Transcript(clicks)
    outcome = prequential(clicks, [rival], rules)
    return rival.lines, len(outcome)


def test_a_list_is_made_after_a_click_and_scored_on_the_shoppers_next() -> None:
    assert transcript("ann:mug bob:cup ann:pot", ProtocolOptions(known=True)) == (
        [
            "learn ann mug after nothing",
            "list ann mug",
            "learn bob cup after nothing",
            "learn ann pot after mug",
        ],
        1,
    )


def test_a_new_shopper_is_scored_on_the_list_of_an_unknown_shopper() -> None:
    assert transcript("ann:mug bob:cup", ProtocolOptions()) == (
        [
            "list stranger nothing",
            "learn ann mug after nothing",
            "list stranger nothing",
            "learn bob cup after nothing",
        ],
        2,
    )


def test_a_pause_begins_a_new_session_but_the_list_before_it_is_scored() -> None:
    assert transcript("ann:mug ann:cup", ProtocolOptions(known=True), minutes=31) == (
        ["learn ann mug after nothing", "list ann mug", "learn ann cup after nothing"],
        1,
    )
    lines, _ = transcript("ann:mug ann:cup", ProtocolOptions(known=True), minutes=30)
    assert lines[-1] == "learn ann cup after mug"
    lines, _ = transcript(
        "ann:mug ann:cup", ProtocolOptions(known=True, session_gap_ms=None), minutes=31
    )
    assert lines[-1] == "learn ann cup after mug"


def test_unseen_leaves_out_what_the_shopper_had_and_does_not_score_it() -> None:
    lines, cases = transcript("ann:mug ann:mug ann:cup", ProtocolOptions(known=True, unseen=True))
    assert [line for line in lines if line.startswith("list")] == [
        "list ann mug without mug",
        "list ann mug+mug without mug",
    ]
    assert cases == 1


def test_a_target_is_missed_by_a_list_made_before_it_was_learned() -> None:
    clicks = collect(stream("ann:mug ann:cup bob:mug bob:cup"))
    outcome = prequential(clicks, [BaselineCompetitor("markov", VIEW)], ProtocolOptions(known=True))
    assert outcome.ranks == {"markov": bytearray([0, 1])}


def test_carts_and_purchases_are_learned_and_not_scored() -> None:
    raw = [
        RawClick("ann", "mug", 0),
        RawClick("ann", "mug", 1, CART),
        RawClick("ann", "mug", 2, PURCHASE),
        RawClick("ann", "cup", 3),
    ]
    clicks = collect(raw)
    rival = Transcript(clicks)
    assert len(prequential(clicks, [rival], ProtocolOptions(known=True))) == 1
    assert rival.lines == [
        "learn ann mug after nothing",
        "learn ann mug after mug",
        "learn ann mug after mug",
        "list ann mug",
        "learn ann cup after mug",
    ]


def test_without_views_purchases_are_scored() -> None:
    raw = [RawClick("ann", item, at_ms, PURCHASE) for at_ms, item in enumerate(["mug", "cup"])]
    outcome = prequential(
        collect(raw), [BaselineCompetitor("markov", PURCHASE)], ProtocolOptions(known=True)
    )
    assert len(outcome) == 1


def test_all_parts_but_the_last_are_only_learned() -> None:
    clicks = collect(stream("ann:mug ann:cup"), stream("ann:pot ann:mug"))
    rival = Transcript(clicks)
    outcome = prequential(clicks, [rival], ProtocolOptions(known=True))
    assert [line for line in rival.lines if line.startswith("list")] == [
        "list ann mug+cup",
        "list ann mug+cup+pot",
    ]
    assert len(outcome) == 2


def test_clicks_are_sorted_by_time_and_ties_keep_their_order() -> None:
    raw = [RawClick("ann", "b", 5), RawClick("bob", "c", 5), RawClick("cid", "a", 1)]
    clicks = collect(raw)
    assert [clicks.items.ids[click.item] for click in clicks] == ["a", "b", "c"]


def test_events_with_items_become_clicks() -> None:
    def event(
        kind: EventType, at_ms: int, item: str, device: str | None, user: str | None
    ) -> Event:
        items = (Item(item_id=item),) if item else ()
        return Event(str(at_ms), kind, at_ms, anonymous_id=device, user_id=user, items=items)

    letter = DeadLetter(
        failure_type="not_json", errors=(), source="log", partition="0", offset=1, raw=""
    )
    records: list[Event | DeadLetter] = [
        event("item_view", 1, "mug", "a1", None),
        letter,
        event("search", 2, "", "a1", None),
        event("identify", 3, "", "a1", "ann"),
        event("cart_add", 4, "mug", "a1", None),
        event("purchase", 5, "mug", None, "ann"),
        event("refund", 6, "mug", None, "ann"),
    ]
    set_aside: list[DeadLetter] = []
    clicks = list(clicks_from_events(records, Weights(), set_aside.append))
    assert clicks == [
        RawClick("a1", "mug", 1, VIEW, 1.0),
        RawClick("ann", "mug", 4, CART, 3.0),
        RawClick("ann", "mug", 5, PURCHASE, 5.0),
    ]
    assert set_aside == [letter]


def test_the_whole_report_of_a_prequential_run() -> None:
    clicks = collect(stream("ann:mug ann:cup bob:mug bob:cup cid:mug cid:pot"))
    rivals = [BaselineCompetitor("popularity", VIEW), BaselineCompetitor("markov", VIEW)]
    outcome = prequential(clicks, rivals, ProtocolOptions(k=2, known=True))
    # Standing lists: after ann's mug, after bob's mug, after cid's mug.
    # popularity: [mug] misses cup; [mug, cup] hits second; [mug, cup] misses pot.
    # markov:     []    misses cup; [cup]      hits first;  [cup]      misses pot.
    assert outcome.scores(catalogue=3) == {
        "popularity": {
            "hr@2": 0.333333,
            "mrr@2": 0.166667,
            "ndcg@2": 0.21031,
            "map@2": 0.166667,
            "coverage@2": 0.666667,
            "gini@2": 0.4,
            "novelty@2": 0.845764,
            "bias@2": 0.456533,
            "fresh@2": 1.0,
        },
        "markov": {
            "hr@2": 0.333333,
            "mrr@2": 0.333333,
            "ndcg@2": 0.333333,
            "map@2": 0.333333,
            "coverage@2": 0.333333,
            "gini@2": 0.666667,
            "novelty@2": 1.453445,
            "bias@2": -0.151148,
            "fresh@2": 1.0,
        },
    }


def test_split_scores_prefixes_and_learns_nothing_from_them() -> None:
    clicks = collect(stream("s1:mug s1:cup"))
    rival = Transcript(clicks)
    cases = [RawCase(("mug",), "cup"), RawCase(("mug", "new"), "cup"), RawCase((), "mug")]
    outcome = split(clicks, cases, [rival, BaselineCompetitor("markov", VIEW)], ProtocolOptions())
    assert rival.lines == [
        "learn s1 mug after nothing",
        "learn s1 cup after mug",
        "list stranger mug",
        "list stranger mug+?",
        "list stranger nothing",
    ]
    assert outcome.ranks["markov"] == bytearray([1, 0, 0])


def test_split_under_known_and_unseen() -> None:
    clicks = collect(stream("s1:mug s1:cup"))
    cases = [RawCase((), "mug"), RawCase(("mug",), "mug"), RawCase(("mug",), "cup")]
    assert (
        len(split(clicks, cases, [BaselineCompetitor("markov", VIEW)], ProtocolOptions(known=True)))
        == 2
    )
    assert (
        len(
            split(clicks, cases, [BaselineCompetitor("markov", VIEW)], ProtocolOptions(unseen=True))
        )
        == 2
    )
    assert (
        len(
            split(
                clicks,
                cases,
                [BaselineCompetitor("markov", VIEW)],
                ProtocolOptions(known=True, unseen=True),
            )
        )
        == 1
    )


def test_leave_one_out_scores_the_last_click_of_each_after_all_else_was_learned() -> None:
    raw = [
        *stream("ann:mug bob:cup ann:pot bob:mug cid:mug"),
        RawClick("bob", "mug", 9 * MINUTE_MS, PURCHASE),
    ]
    clicks = collect(raw)
    rival = Transcript(clicks)
    outcome = leave_one_out(clicks, [rival], ProtocolOptions())
    assert rival.lines == [
        "learn ann mug after nothing",
        "learn bob cup after nothing",
        # Not ann's pot, not bob's mug nor that he bought it, not the only click of cid.
        "list ann mug",
        "list bob cup",
    ]
    assert len(outcome) == 2
    again = collect(stream("ann:mug ann:mug ann:cup bob:pot bob:pot"))
    assert len(leave_one_out(again, [Transcript(again)], ProtocolOptions(unseen=True))) == 1


def test_each_case_has_its_traits() -> None:
    clicks = collect(stream("ann:mug ann:cup bob:mug ann:cup", minutes=29))
    outcome = prequential(clicks, [BaselineCompetitor("markov", VIEW)], ProtocolOptions())
    assert outcome.depth.tolist() == [0, 1, 0, 0], "a session ended"
    assert list(outcome.is_known) == [0, 1, 0, 1]
    minutes = [NEVER if ms == NEVER else ms // MINUTE_MS for ms in outcome.age_ms]
    assert minutes == [NEVER, NEVER, 58, 58]
    assert [clicks.shoppers.ids[owner] for owner in outcome.owner] == ["ann", "ann", "bob", "ann"]


def test_prefixes_of_one_session_have_one_owner_in_either_order() -> None:
    clicks = collect(stream("s1:mug s1:cup"))
    texts = ["a b:c", "a:b", "x:y", "x y:z", "q:r"]
    pairs = [text.split(":") for text in texts]
    cases = [RawCase(tuple(prefix.split()), target) for prefix, target in pairs]
    outcome = split(clicks, cases, [BaselineCompetitor("markov", VIEW)], ProtocolOptions())
    assert outcome.owner.tolist() == [0, 0, 1, 1, 2]
