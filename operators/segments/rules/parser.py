"""From `segments.yaml` to rules: strict, and every error names file, line and path and what to write.

The language is described in docs/segments.md.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.segments.rules import features
from operators.segments.rules.ast import (
    NUMBERS_MAX,
    All,
    Any,
    Bounds,
    Filter,
    Holdout,
    Node,
    Not,
    Number,
    Rule,
    Sequence,
    Step,
    Text,
    Window,
)
from operators.segments.rules.describe import in_words
from operators.segments.rules.quantities import (
    COUNT,
    DAYS,
    MONEY,
    SHARE,
    bounds,
    share_micros,
    span_ms,
    span_words,
)
from operators.segments.rules.yaml_nodes import Spot, nearest, parse
from state.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_OTHER_KINDS = ("cluster-", "rfm-", "lifecycle-", "propensity-")
_NO_TYPES = frozenset({"erase", "item"})
"""What shoppers do not do."""
_WITHOUT_ITEMS = frozenset({"page_view", "search", "identify", "consent"})
_TYPES = (*sorted(EVENT_TYPES - _NO_TYPES), features.ANY)

_PATHS = ("category",)
_LISTS = {
    "category": "categories",
    "brand": "brands",
    "item": "items",
    "campaign_source": "campaign_source",
    "campaign_medium": "campaign_medium",
    "campaign_name": "campaign_name",
    "device": "device",
    "country": "country",
    "list": "list",
    "query": "query",
}
_FILTERS = (*_LISTS, "price", "value")
DISTINCT = ("items", "categories", "brands", "days", "sessions")
SUMS = {"value": MONEY, "net value": MONEY, "quantity": COUNT}
_MEASURES = (
    "count",
    *(f"distinct {what}" for what in DISTINCT if what != "sessions"),
    *(f"sum of {what}" for what in SUMS),
)
_KINDS = ("all", "any", "not", "event", "no", "sequence", "segment", "holdout")
_EXAMPLE = "`purchases >= 3` or `{event: item_view, count: at least 3, within: 24 h}`"
_SPANS = "write `30 min`, `24 h` or `60 d`"
_AMOUNTS = "write `at least 3`, `at most 3`, `more than 3`, `less than 3` or `between 3 and 5`"
_OTHER_WORDS = {"and": "all", "or": "any", "none": "not", "absent": "no", "then": "sequence"}
NAME_CHARS_MAX = 100
DEPTH_MAX = 50
"""How deep conditions may lie in each other, segments that are referred to included."""
CONDITIONS_MAX = 1000
"""How many conditions a rule may come to, those of segments it refers to included."""
_JOINED = re.compile(r"\s(and|or|&&|\|\|)\s")
_PERCENT = re.compile(r"(-?\d+(?:\.\d+)?)\s*%")
_COMPARISON = re.compile(
    r"(?P<name>[a-z_.]+)\s*(?P<said>(?:>=|<=|==|!=|=|>|<|is\b|at\b|more\b|less\b|fewer\b|exactly\b"
    r"|between\b).*)"
)
_IS = re.compile(r"(?:(?P<not>!=|is not\s)|=|==|is\s)\s*(?:one of\s+)?(?P<values>.+)")


def read(text: str, source: str) -> tuple[Rule, ...]:
    """The rules of a file, in its order. Raises UserError for whatever is wrong with it."""
    top = parse(text, source)
    if top is None:
        return ()
    return _Reader(top).rules()


class _Reader:
    """Reads one file: a rule may speak of one that comes after it."""

    def __init__(self, top: Spot) -> None:
        self._entries = top.fields("segments by id, as in `big-spenders: {when: revenue > 500}`")
        self._whens: dict[str, tuple[dict[str, Spot], Spot]] = {}
        for sid, spot in self._entries.items():
            if not _ID.fullmatch(sid):
                spot.refuse("an id has small letters, digits and hyphens, at most 64")
            if sid.startswith(_OTHER_KINDS):
                spot.refuse(
                    f"ids that begin with `{sid.split('-')[0]}-` are of segments that are found, "
                    "not written: choose another id"
                )
            fields = spot.fields("`when:` and what you like of `name:`, `description:`")
            spot.only(fields, ("name", "description", "when"), "a segment")
            if "when" not in fields:
                spot.refuse(f"`when:` is missing: say who is in it, as in `when: {_EXAMPLE}`")
            self._whens[sid] = fields, fields["when"]
        self._nodes: dict[str, tuple[Node, int]] = {}
        self._open: list[str] = []
        self._depth = self._conditions = 0

    def rules(self) -> tuple[Rule, ...]:
        rules = tuple(self._rule(sid) for sid in self._entries)
        known: dict[int, str] = {}
        for rule in rules:
            other = known.setdefault(rule.digest, rule.id)
            if other != rule.id:
                self._entries[rule.id].refuse(f"is the same segment as `{other}`: take one out")
        return rules

    def _rule(self, sid: str) -> Rule:
        fields, _ = self._whens[sid]
        node = self._node_of(sid)
        name = sid.replace("-", " ").capitalize()
        if "name" in fields:
            name = fields["name"].text("the name that people see")
            if len(name) > NAME_CHARS_MAX:
                fields["name"].refuse(
                    f"is longer than {NAME_CHARS_MAX} characters: say the rest in `description:`"
                )
        description = ""
        if "description" in fields:
            description = fields["description"].text("what the segment is for")
        return Rule(sid, name, description, node, in_words(node))

    def _node_of(self, sid: str) -> Node:
        if sid not in self._nodes:
            self._open.append(sid)
            before, self._conditions = self._conditions, 0
            self._nodes[sid] = self._node(self._whens[sid][1]), self._conditions
            self._conditions = before
            self._open.pop()
        node, conditions = self._nodes[sid]
        self._conditions += conditions
        return node

    def _node(self, spot: Spot) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            spot.refuse(f"lies more than {DEPTH_MAX} conditions deep: write it flatter")
        node = self._one(spot)
        self._depth -= 1
        self._conditions += 1
        if self._conditions > CONDITIONS_MAX:
            spot.refuse(f"comes to more than {CONDITIONS_MAX:,} conditions: make it smaller")
        return node

    def _one(self, spot: Spot) -> Node:
        if spot.is_text:
            return _comparison(spot)
        fields = spot.fields(f"a condition, as in {_EXAMPLE}")
        kinds = [kind for kind in _KINDS if kind in fields]
        if len(kinds) != 1:
            said = f"both `{kinds[0]}` and `{kinds[1]}`" if kinds else "none"
            for word in () if kinds else fields:
                meant = _OTHER_WORDS.get(word.lower(), word.lower())
                said += f" (for `{word}` write `{meant}`)" if meant in _KINDS else ""
            spot.refuse(f"a condition has one of {', '.join(_KINDS)}, this has {said}")
        kind = kinds[0]
        readers: dict[str, Callable[[Spot, dict[str, Spot]], Node]] = {
            "all": self._all,
            "any": self._any,
            "not": self._not,
            "event": _event,
            "no": _no,
            "sequence": _sequence,
            "segment": self._segment,
            "holdout": self._holdout,
        }
        return readers[kind](spot, fields)

    def _all(self, spot: Spot, fields: dict[str, Spot]) -> Node:
        return All(self._parts(spot, fields, "all"))

    def _any(self, spot: Spot, fields: dict[str, Spot]) -> Node:
        return Any(self._parts(spot, fields, "any"))

    def _parts(self, spot: Spot, fields: dict[str, Spot], kind: str) -> tuple[Node, ...]:
        spot.only(fields, (kind,), f"`{kind}`")
        return tuple(self._node(one) for one in fields[kind].items("conditions, `- ` before each"))

    def _not(self, spot: Spot, fields: dict[str, Spot]) -> Node:
        spot.only(fields, ("not",), "`not`")
        return Not(self._node(fields["not"]))

    def _segment(self, spot: Spot, fields: dict[str, Spot]) -> Node:
        spot.only(fields, ("segment",), "`segment`")
        here = fields["segment"]
        sid = here.text("the id of another segment of this file")
        if sid in self._open:
            circle = " -> ".join([*self._open[self._open.index(sid) :], sid])
            here.refuse(f"goes round in a circle ({circle}): take one of the references out")
        if sid.startswith(_OTHER_KINDS):
            here.refuse(
                f"`{sid}` is decided over all shoppers, later than rules are: a rule can speak of "
                "segments of this file only; repeat what it means as conditions"
            )
        if sid not in self._entries:
            here.refuse(f"there is no segment `{sid}` in this file{nearest(sid, self._entries)}")
        return self._node_of(sid)

    def _holdout(self, spot: Spot, fields: dict[str, Spot]) -> Node:
        spot.only(fields, ("holdout", "salt"), "`holdout`")
        share = share_micros(fields["holdout"].text("a share, as in `10 %`"))
        if not share:
            fields["holdout"].refuse("is no share: write `10 %`, at most `100 %`")
        salt = self._open[-1]
        if "salt" in fields:
            salt = fields["salt"].text("any word: another one holds out others")
        return Holdout(share, salt)


def _comparison(spot: Spot) -> Node:
    text = spot.text(f"a condition, as in {_EXAMPLE}")
    found = _COMPARISON.fullmatch(text)
    if found is None:
        spot.refuse(f"`{text}` is no condition: write {_EXAMPLE}")
    name, said = found["name"], found["said"].strip()
    if name not in features.NAMES:
        close = nearest(name, features.NAMES)
        spot.refuse(f"there is no feature `{name}`{close}: {', '.join(features.NAMES)}")
    if name in features.TEXTS:
        return _text(spot, name, said)
    return _number(spot, name, said)


def _number(spot: Spot, name: str, said: str) -> Node:
    unit = DAYS
    if name in features.NUMBERS:
        unit = features.NUMBERS[name].unit
    elif name in features.SESSION:
        unit = features.SESSION[name].unit
    if name in features.SHARES:
        said = _PERCENT.sub(lambda found: f"{Decimal(found[1]) / 100:f}", said)
    opposite = said.startswith(("!=", "is not "))
    if opposite:
        said = re.sub(r"^(?:!=|is not)", "=", said)
    amount = bounds(said, unit)
    if amount is None and (joined := _JOINED.search(said)):
        word = "all" if joined[1] in ("and", "&&") else "any"
        spot.refuse(f"is more than one condition: write them as a list below `{word}:`")
    if amount is None:
        spot.refuse(f"`{said}` is no amount: {_AMOUNTS}, or `>=`, `<=`, `>`, `<`, `=`")
    if name in features.SHARES and max(amount.low or 0, amount.high or 0) > SHARE:
        spot.refuse(f"`{name}` is a share of 1: write `{name} >= 0.5` or `{name} >= 50 %`")
    if name in features.SINCE:
        if amount.low == amount.high:
            spot.refuse("is exact to the ms and so never true: write `between 3 and 4`")
        amount = replace(amount, words=f"{amount.words} d")
    return Not(Number(name, amount)) if opposite else Number(name, amount)


def _text(spot: Spot, name: str, said: str) -> Node:
    found = _IS.fullmatch(said)
    if found is None:
        spot.refuse(f"`{name}` is a text: write `{name} is ...`, `is not ...` or `is one of a, b`")
    values = tuple(value.strip() for value in found["values"].split(",") if value.strip())
    allowed = features.TEXTS[name].values
    for value in values:
        if allowed and value not in allowed:
            spot.refuse(f"`{name}` is never `{value}`: it is one of {', '.join(allowed)}")
    if features.TEXTS[name].is_path:
        values = tuple(value.strip("/") for value in values)
    node = Text(name, tuple(sorted(set(values))))
    return Not(node) if found["not"] else node


def _event(spot: Spot, fields: dict[str, Spot]) -> Node:
    spot.only(fields, ("event", *_FILTERS, *_MEASURES, "within"), "`event`")
    measures = [measure for measure in _MEASURES if measure in fields]
    if len(measures) > 1:
        fields[measures[1]].refuse(f"only one of `{measures[0]}` and `{measures[1]}`: use `all:`")
    events = _filter(fields, "event")
    within_ms = _span(fields["within"]) if "within" in fields else None
    if not measures:
        return Window(events, "count", _AT_LEAST_ONE, within_ms)
    measure = measures[0]
    if measure == "sum of net value":
        if events.types != ("purchase",):
            fields[measure].refuse("is of purchases less refunds: write `event: purchase`")
        events = _with_types(events, ("purchase", "refund"))
    kind = measure.removeprefix("sum of ")
    unit = SUMS[kind] if measure.startswith("sum") else COUNT
    amount = _amount(fields[measure], unit)
    highest = max(amount.low or 0, amount.high or 0)
    if not measure.startswith("sum"):
        if amount.high is None and (amount.low or 0) <= 0:
            fields[measure].refuse("is so of everybody: write at least 1")
        if amount.high is not None and amount.high < 0:
            fields[measure].refuse("is so of nobody: a count is 0 or more")
    if measure.startswith("distinct") and highest >= NUMBERS_MAX:
        fields[measure].refuse(f"is kept up to {NUMBERS_MAX - 1}: write a smaller number")
    return Window(events, measure, amount, within_ms)


def _no(spot: Spot, fields: dict[str, Spot]) -> Node:
    spot.only(fields, ("no", *_FILTERS, "within", "for"), "`no`")
    if "within" in fields and "for" in fields:
        fields["for"].refuse("only one of `within` and `for`")
    span = fields.get("within") or fields.get("for")
    within_ms = None if span is None else _span(span)
    absent = Not(Window(_filter(fields, "no"), "count", _AT_LEAST_ONE, within_ms))
    if "for" not in fields or within_ms is None:
        return absent
    first_seen = Bounds(within_ms, None, f"at least {span_words(within_ms)}")
    return All((absent, Number("first_seen_days", first_seen)))


def _sequence(spot: Spot, fields: dict[str, Spot]) -> Node:
    spot.only(fields, ("sequence", "same", "within"), "`sequence`")
    steps = fields["sequence"].items("steps, `- event: cart_add` first")
    if "within" not in fields:
        spot.refuse(f"`within:` is missing: how long ago the first step may be; {_SPANS}")
    within_ms = _span(fields["within"])
    same_item = "same" in fields
    if same_item and fields["same"].text("`item`") != "item":
        fields["same"].refuse("steps can be of the same `item` only: write `same: item`")
    read: list[Step] = []
    absent: Step | None = None
    for n, step in enumerate(steps):
        said = step.fields("a step, as in `then: checkout_start`")
        kind = "event" if n == 0 else "then no" if "then no" in said else "then"
        if kind not in said:
            step.refuse("begins with `event:`" if n == 0 else "write `then:` or `then no:`")
        if absent is not None:
            step.refuse("`then no` is about all that comes after: let it be the last step")
        step.only(said, (kind, *_FILTERS, *(("within",) if n else ())), f"`{kind}`")
        span = _span(said["within"]) if "within" in said else None
        one = Step(_filter(said, kind), span)
        if same_item and (without := _WITHOUT_ITEMS & {*one.events.types}):
            said[kind].refuse(f"`{min(without)}` is of no item: take it out, or `same: item`")
        if kind == "then no":
            if span is None:
                step.refuse(f"`within:` is missing: how long nothing must have come; {_SPANS}")
            absent = one
        else:
            read.append(one)
    if len(steps) < 2:
        fields["sequence"].refuse("has one step: add `- then: ...` or write it as `event:`")
    if absent is not None and absent.within_ms is not None and absent.within_ms >= within_ms:
        fields["within"].refuse(
            "must be longer than that of the last step, or nobody is ever in it"
        )
    return Sequence(tuple(read), absent, within_ms, same_item)


def _filter(fields: dict[str, Spot], kind: str) -> Filter:
    types = _texts(fields[kind], "a type of event, as in `item_view`")
    for name in types:
        if name not in _TYPES:
            close = nearest(name, _TYPES)
            fields[kind].refuse(f"there is no event `{name}`{close}: {', '.join(_TYPES)}")
    if features.ANY in types:
        types = (features.ANY,)
    said: dict[str, tuple[str, ...]] = {}
    for name, field in _LISTS.items():
        if name in fields:
            values = _texts(fields[name], "what it has to be, or a list of that")
            if name in _PATHS:
                values = tuple(value.strip("/") for value in values)
            if name == "query":
                values = tuple(value.lower() for value in values)
            said[field] = values
    price = _amount(fields["price"], MONEY) if "price" in fields else None
    value = _amount(fields["value"], MONEY) if "value" in fields else None
    return Filter(types, price=price, value=value, **said)


def _with_types(events: Filter, types: tuple[str, ...]) -> Filter:
    return replace(events, types=types)


def _texts(spot: Spot, instead: str) -> tuple[str, ...]:
    several = spot.items(instead) if spot.is_list else [spot]
    return tuple(sorted({one.text(instead) for one in several}))


def _span(spot: Spot) -> int:
    text = spot.text(_SPANS)
    ms = span_ms(text)
    if ms is None:
        spot.refuse(f"`{text}` is no span of time (of at most ten years): {_SPANS}")
    return ms


def _amount(spot: Spot, unit: int) -> Bounds:
    text = spot.text(_AMOUNTS)
    amount = bounds(text, unit)
    if amount is None:
        spot.refuse(f"`{text}` is no amount: {_AMOUNTS}")
    return amount


_AT_LEAST_ONE = Bounds(1, None, "at least 1")
