"""Each kind of condition as its specification, and what it takes to add a kind: one class, one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from operators.kernels.rule_layout import TRUTH
from operators.segments.rules.compiler import RuleSet
from operators.segments.rules.conditions.base import NO, YES, Condition
from operators.segments.rules.conditions.registry import CONDITION_PARSERS
from operators.segments.rules.engine import create_engine
from operators.segments.rules.explain import ConditionResult, explain
from operators.segments.rules.parser import parse_rules
from state.entries import Transition
from state.shopper import RuleState, Session, Shopper
from state.snapshots import ShardRulesState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.segments.rules.conditions.base import Answer, RuleParser
    from operators.segments.rules.instructions import InstructionWriter
    from operators.segments.rules.yaml_nodes import YamlNode

DAY_MS = 86_400_000
GAP_MS = 30 * 60_000
NOW_MS = 1_800_000_000_000


def shopper() -> Shopper:
    """Known for 10 days, with 3 views and 1 purchase 2 days ago; in a session since 5 minutes."""
    return Shopper(
        known=True,
        first_ms=NOW_MS - 10 * DAY_MS,
        last_ms=NOW_MS,
        events=4,
        views=3,
        purchases=1,
        last_purchase_ms=NOW_MS - 2 * DAY_MS,
        open_sessions=[Session(start_ms=NOW_MS - 5 * 60_000, last_ms=NOW_MS, events=2, views=2)],
        rule_state=RuleState(latest_context={"device": (NOW_MS, "phone")}),
    )


def results(when: str) -> list[ConditionResult]:
    (rule,) = parse_rules(f"some: {{when: {when}}}", "segments.yaml")
    return explain(rule, "ann", shopper(), NOW_MS, gap_ms=GAP_MS)


@pytest.mark.parametrize(
    ("when", "words", "holds", "until_ms", "value"),
    [
        ("views >= 3", "items viewed at least 3", True, None, "3"),
        ("views >= 4", "items viewed at least 4", False, None, "3"),
        ("aov > 5", "average order value more than 5", False, None, "0.00"),
        (
            "recency_days < 3",
            "last purchase less than 3 d ago",
            True,
            NOW_MS + DAY_MS,
            "2.0 d ago",
        ),
        (
            "first_seen_days >= 11",
            "first seen at least 11 d ago",
            False,
            NOW_MS + DAY_MS,
            "10.0 d ago",
        ),
        (
            "session_views >= 2",
            "items viewed in this session at least 2",
            True,
            NOW_MS + GAP_MS + 1,
            "2",
        ),
        ("known is yes", "signed in is yes", True, None, "yes"),
        ("device is not phone", "device is not phone", False, None, "phone"),
        ("{holdout: 100 %}", "held out (100 %)", True, None, ""),
        (
            "{event: item_view, count: at least 2, within: 1 d}",
            "item view (at least 2) within 24 h",
            False,
            None,
            "0",
        ),
        ("{no: purchase, within: 1 d}", "no purchase within 24 h", True, None, "0"),
        (
            "{sequence: [event: item_view, then: cart_add], within: 1 d}",
            "item view, then item put into the cart, begun in the last 24 h",
            False,
            None,
            "",
        ),
    ],
)
def test_a_condition_answers_until_when_and_from_what(
    when: str, words: str, holds: bool, until_ms: int | None, value: str
) -> None:
    assert results(when) == [ConditionResult(0, words, holds, until_ms, value)]


def test_conditions_of_conditions_are_explained_part_by_part() -> None:
    assert results("{all: [views >= 3, {not: {any: [purchases >= 2, known is no]}}]}") == [
        ConditionResult(
            0,
            "items viewed at least 3 and not (purchases at least 2 or signed in is no)",
            True,
            None,
        ),
        ConditionResult(1, "items viewed at least 3", True, None, "3"),
        ConditionResult(1, "not (purchases at least 2 or signed in is no)", True, None),
        ConditionResult(2, "purchases at least 2 or signed in is no", False, None),
        ConditionResult(3, "purchases at least 2", False, None, "1"),
        ConditionResult(3, "signed in is no", False, None, "yes"),
    ]


class NameBegins(Condition, frozen=True, tag=True):
    """An example of a new kind: the id of the shopper begins with these letters."""

    letters: str

    def compile(self, gap_ms: int) -> Answer:
        letters = self.letters

        def begins(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
            return YES if shopper_id.startswith(letters) else NO

        return begins

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        letters = self.letters
        truth = writer.shopper_truth(self, lambda shopper_id: shopper_id.startswith(letters))
        writer.write(TRUTH, is_negated, truth, 1)

    def describe(self) -> str:
        return f"id begins with {self.letters}"


def parse_name_begins(
    parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]
) -> Condition:
    entry.check_keys(fields, ("id begins",), "`id begins`")
    return NameBegins(fields["id begins"].text("letters"))


def test_a_new_kind_of_condition_is_one_class_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONDITION_PARSERS, "id begins", parse_name_begins)
    assert results("{any: [{id begins: b}, {not: {id begins: a}}]}") == [
        ConditionResult(0, "id begins with b or not id begins with a", False, None),
        ConditionResult(1, "id begins with b", False, None),
        ConditionResult(1, "not id begins with a", False, None),
    ]
    rules = RuleSet.from_text("a: {when: {id begins: an}}", "segments.yaml", gap_ms=GAP_MS)
    assert rules is not None
    engine = create_engine(rules, ShardRulesState())
    assert engine is not None
    for name in ("ann", "bob"):
        engine.evaluate_all(name, shopper(), NOW_MS)
    engine.flush()
    assert engine.transitions == [Transition("ann", "a", True, NOW_MS)]
