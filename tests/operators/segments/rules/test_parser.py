"""The language of segments.yaml: what a rule means in words, and the error for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.segments.rules import features
from operators.segments.rules.compiler import RuleSet
from operators.segments.rules.parser import parse_rules
from state.errors import ConfigurationError

ROOT = Path(__file__).parents[4]


def test_a_share_may_be_written_in_percent() -> None:
    (one,) = parse_rules("a: {when: cart_rate >= 12.5 %}", "x")
    (same,) = parse_rules("a: {when: cart_rate >= 0.125}", "x")
    assert one == same


def words(when: str) -> str:
    return parse_rules(f"some: {{when: {when}}}", "segments.yaml")[0].words


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("purchases >= 3", "purchases at least 3"),
        ("aov is not 5", "not average order value exactly 5"),
        ("recency_days < 30", "last purchase less than 30 d ago"),
        ("top_category is shoes/", "top category is shoes"),
        ('"country is one of DE, AT"', "country is AT or DE"),
        ("device is not phone", "device is not phone"),
        ("{event: purchase}", "purchase (at least 1) ever"),
        (
            "{event: item_view, category: shoes, count: at least 3, within: 24 h}",
            "item view in shoes (at least 3) within 24 h",
        ),
        (
            "{event: [cart_add, purchase], brand: [a, b], distinct days: more than 1, within: 1 w}",
            "item put into the cart or purchase of brand a or b (distinct days, more than 1) within 7 d",
        ),
        ("{no: purchase, within: 60 d}", "no purchase within 60 d"),
        (
            "{no: purchase, for: 60 d}",
            "no purchase within 60 d and first seen at least 60 d ago",
        ),
        (
            "{sequence: [event: cart_add, {then no: purchase, within: 30 min}], within: 3 d}",
            "item put into the cart, then no purchase for 30 min, begun in the last 3 d",
        ),
        (
            "{sequence: [event: item_view, {then no: cart_add, within: 30 min}], same: item, "
            "within: 3 d}",
            "item view, then no item put into the cart for 30 min, all of the same item, "
            "begun in the last 3 d",
        ),
        (
            "{all: [{sequence: [event: search, then: purchase], within: 1 h}, views >= 3]}",
            "(search, then purchase, begun in the last 1 h) and items viewed at least 3",
        ),
        (
            "{all: [views >= 1, {any: [carts >= 1, {not: {holdout: 10 %}}]}]}",
            "items viewed at least 1 and (items put into the cart at least 1 or not held out (10 %))",
        ),
    ],
)
def test_a_rule_is_described_in_words(when: str, said: str) -> None:
    assert words(when) == said


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("purchase >= 3", "there is no feature `purchase` (did you mean `purchases`?): events, "),
        ("purchases", "`purchases` is not a condition: write `purchases >= 3` or "),
        ("purchases >= many", "`>= many` is not an amount: write `at least 3`, "),
        (
            "purchases >= 3 and views >= 2",
            "more than one condition: write them as a list below `all:`",
        ),
        (
            "purchases >= 3 or views >= 2",
            "more than one condition: write them as a list below `any:`",
        ),
        ("purchases exactly 1.5", "`exactly 1.5` is not an amount"),
        ("cart_rate >= 50", "`cart_rate` is a share of 1: write `cart_rate >= 0.5` or"),
        ("{OR: [views >= 2]}", "this has none (for `OR` write `any`)"),
        ("{event: any, count: at least 0}", "is true for every shopper: write at least 1"),
        ("{event: any, count: less than 0}", "is true for no shopper"),
        ("{holdout: 0 %}", "is not a share: write `10 %`"),
        ('"device is a\\x07b"', "has a control character: remove it"),
        ("{not: " * 60 + "views >= 2" + "}" * 60, "is more than 50 conditions deep"),
        ("known is maybe", "`known` is never `maybe`: it is one of yes, no"),
        ("currency > 3", "`currency` is a text: write `currency is ...`, "),
        ("recency_days exactly 3", "is exact to the ms and so never true: write `between 3 and 4`"),
        ("{}", "a condition has one of all, any, not, event, no, "),
        ("{event: purchase, no: purchase}", "has both `event` and `no`"),
        ("{all: purchases >= 1}", "expected a list: conditions"),
        (
            "{event: item_vew}",
            "there is no event `item_vew` (did you mean `item_view`?): cart_add, ",
        ),
        (
            "{event: item_view, categories: a}",
            "`event` has no `categories` (did you mean `category`?)",
        ),
        ("{event: item_view, count: 3}", "`3` is not an amount: write `at least 3`, "),
        (
            "{event: item_view, within: soon}",
            "`soon` is not a span of time (of at most ten years): write ",
        ),
        (
            "{event: item_view, count: at least 1, distinct items: at least 1}",
            "only one of `count` and",
        ),
        ("{event: any, distinct items: at least 256}", "is kept up to 255: write a smaller number"),
        (
            "{event: any, sum of net value: at least 2}",
            "is of purchases less refunds: write `ev",
        ),
        ("{segment: other}", "there is no segment `other` in this file"),
        (
            "{segment: some}",
            "refers to itself (some -> some): remove one of the references",
        ),
        (
            "{segment: rfm-champions}",
            "`rfm-champions` is computed over all shoppers, after the rules",
        ),
        ("{holdout: a tenth}", "is not a share: write `10 %`, at most `100 %`"),
        (
            "{sequence: [event: search], within: 1 h}",
            "has one step: add `- then: ...` or write it as",
        ),
        (
            "{sequence: [event: item_view, then: cart_add], same: brand, within: 1 h}",
            "segments.yaml:1: some.when.same: steps can be of the same `item` only: write `same: item`",
        ),
        (
            "{sequence: [event: [search, item_view], then: cart_add], same: item, within: 1 h}",
            "segments.yaml:1: some.when.sequence[0].event: `search` has no items: remove it, "
            "or `same: item`",
        ),
        (
            "{sequence: [event: search, then: purchase]}",
            "`within:` is missing: how long ago the first",
        ),
        (
            "{sequence: [event: search, {then no: purchase}], within: 1 h}",
            "`within:` is missing: ",
        ),
        (
            "{sequence: [event: search, {then no: purchase, within: 2 h}], within: 1 h}",
            "must be longer than that of the last step, or no shopper is ever in it",
        ),
        ("{no: purchase, within: 1 d, for: 1 d}", "only one of `within` and `for`"),
    ],
)
def test_a_mistake_is_refused_with_line_and_path(when: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        words(when)
    assert str(refused.value).startswith("segments.yaml:1: some.when")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:\n  when: views > 1\nb:\n  wen: x", "segments.yaml:4: b.wen: a segment has no `wen`"),
        ("a:\n  name: A", "segments.yaml:1: a: `when:` is missing: say who is in it"),
        ("a: {when: views > 1}\na: {when: views > 2}", "segments.yaml:2: a: given twice: keep one"),
        ("Big Ones: {when: views > 1}", "an id has small letters, digits and hyphens, at most 64"),
        (
            "rfm-mine: {when: views > 1}",
            "ids that begin with `rfm-` are of computed segments",
        ),
        ("- views > 1", "segments.yaml:1: expected a mapping: segments by id"),
        ("a: [", "segments.yaml:1: not YAML: "),
        (
            "a: {when: views > 1}\nb: {when: views > 1}",
            "segments.yaml:2: b: is the same segment as `a`: remove one",
        ),
        (f"a: {{name: {'a' * 101}, when: views > 1}}", "a.name: is longer than 100 characters"),
        ("a: " + "{not: " * 5000, "segments.yaml: is nested too deep"),
        (
            "a0: {when: views > 1}\n"
            + "".join(
                f"a{n + 1}: {{when: {{all: [segment: a{n}, segment: a{n}, carts > {n}]}}}}\n"
                for n in range(20)
            ),
            "conditions: make it smaller",
        ),
        (
            "a:\n  when:\n    all:\n      - views > 1\n      - segment: b\nb: {when: {segment: a}}",
            "segments.yaml:6: b.when.segment: refers to itself (a -> b -> a)",
        ),
    ],
)
def test_a_file_with_a_mistake_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        RuleSet.from_text(text, "segments.yaml", gap_ms=1)
    assert said in str(refused.value)


def test_an_empty_file_has_no_rules() -> None:
    assert RuleSet.from_text("# none", "segments.yaml", gap_ms=1) is None


def test_every_segment_of_the_shipped_file_has_a_description() -> None:
    rules = parse_rules((ROOT / "segments.yaml").read_text(), "segments.yaml")
    assert len(rules) > 10
    assert all(rule.description and rule.name != rule.id for rule in rules)


def test_the_digest_depends_on_the_meaning_of_a_rule_and_not_on_its_words() -> None:
    one, other = parse_rules("a: {name: A, when: views >= 3}\nc: {when: views >= 4}", "x")
    (same,) = parse_rules("b: {when: views at least 3}", "x")
    assert one.digest == same.digest != other.digest
    # Stored in snapshots: it must never change.
    assert one.digest == 2500646525249426379


@pytest.mark.parametrize("name", features.FEATURE_NAMES)
def test_every_feature_is_in_the_docs(name: str) -> None:
    assert name in (ROOT / "docs/segments.md").read_text()
