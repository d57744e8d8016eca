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
    EXACT_COUNT_MAX,
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
from operators.segments.rules.describe import describe_condition
from operators.segments.rules.quantities import (
    COUNT,
    DAYS,
    MONEY,
    SHARE,
    format_duration,
    parse_bounds,
    parse_duration_ms,
    parse_share_micros,
)
from operators.segments.rules.yaml_nodes import YamlNode, parse_yaml, suggest
from state.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

_SEGMENT_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_RESERVED_PREFIXES = ("cluster-", "rfm-", "lifecycle-", "propensity-")
_NON_SHOPPER_TYPES = frozenset({"erase", "item"})
"""What shoppers do not do."""
_TYPES_WITHOUT_ITEMS = frozenset({"page_view", "search", "identify", "consent"})
_EVENT_TYPES = (*sorted(EVENT_TYPES - _NON_SHOPPER_TYPES), features.ANY_EVENT)

_PATH_FILTERS = ("category",)
_LIST_FILTERS = {
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
_FILTER_KEYS = (*_LIST_FILTERS, "price", "value")
DISTINCT_VALUES = ("items", "categories", "brands", "days", "sessions")
SUM_UNITS = {"value": MONEY, "net value": MONEY, "quantity": COUNT}
_MEASURE_KEYS = (
    "count",
    *(f"distinct {what}" for what in DISTINCT_VALUES if what != "sessions"),
    *(f"sum of {what}" for what in SUM_UNITS),
)
_CONDITION_KEYS = ("all", "any", "not", "event", "no", "sequence", "segment", "holdout")
_CONDITION_EXAMPLE = "`purchases >= 3` or `{event: item_view, count: at least 3, within: 24 h}`"
_DURATION_EXAMPLE = "write `30 min`, `24 h` or `60 d`"
_BOUNDS_EXAMPLE = (
    "write `at least 3`, `at most 3`, `more than 3`, `less than 3` or `between 3 and 5`"
)
_SYNONYMS = {"and": "all", "or": "any", "none": "not", "absent": "no", "then": "sequence"}
NAME_CHARS_MAX = 100
DEPTH_MAX = 50
"""How deep conditions may lie in each other, segments that are referred to included."""
CONDITIONS_MAX = 1000
"""How many conditions a rule may come to, those of segments it refers to included."""
_JOINED_CONDITIONS = re.compile(r"\s(and|or|&&|\|\|)\s")
_PERCENT = re.compile(r"(-?\d+(?:\.\d+)?)\s*%")
_COMPARISON = re.compile(
    r"(?P<name>[a-z_.]+)\s*(?P<said>(?:>=|<=|==|!=|=|>|<|is\b|at\b|more\b|less\b|fewer\b|exactly\b"
    r"|between\b).*)"
)
_TEXT_COMPARISON = re.compile(r"(?:(?P<not>!=|is not\s)|=|==|is\s)\s*(?:one of\s+)?(?P<values>.+)")


def parse_rules(text: str, source: str) -> tuple[Rule, ...]:
    """The rules of a file, in its order. Raises UserError for whatever is wrong with it."""
    root = parse_yaml(text, source)
    if root is None:
        return ()
    return _RuleParser(root).rules()


class _RuleParser:
    """Reads one file: a rule may speak of one that comes after it."""

    def __init__(self, root: YamlNode) -> None:
        self._entries = root.fields("segments by id, as in `big-spenders: {when: revenue > 500}`")
        self._definitions: dict[str, tuple[dict[str, YamlNode], YamlNode]] = {}
        for segment_id, entry in self._entries.items():
            if not _SEGMENT_ID.fullmatch(segment_id):
                entry.raise_error("an id has small letters, digits and hyphens, at most 64")
            if segment_id.startswith(_RESERVED_PREFIXES):
                entry.raise_error(
                    f"ids that begin with `{segment_id.split('-')[0]}-` are of segments that are found, "
                    "not written: choose another id"
                )
            fields = entry.fields("`when:` and what you like of `name:`, `description:`")
            entry.check_keys(fields, ("name", "description", "when"), "a segment")
            if "when" not in fields:
                entry.raise_error(
                    f"`when:` is missing: say who is in it, as in `when: {_CONDITION_EXAMPLE}`"
                )
            self._definitions[segment_id] = fields, fields["when"]
        self._parsed: dict[str, tuple[Node, int]] = {}
        self._open_references: list[str] = []
        self._depth = self._condition_count = 0

    def rules(self) -> tuple[Rule, ...]:
        rules = tuple(self._parse_rule(segment_id) for segment_id in self._entries)
        ids_by_digest: dict[int, str] = {}
        for rule in rules:
            first_id = ids_by_digest.setdefault(rule.digest, rule.id)
            if first_id != rule.id:
                self._entries[rule.id].raise_error(
                    f"is the same segment as `{first_id}`: take one out"
                )
        return rules

    def _parse_rule(self, segment_id: str) -> Rule:
        fields, _ = self._definitions[segment_id]
        node = self._parse_segment(segment_id)
        name = segment_id.replace("-", " ").capitalize()
        if "name" in fields:
            name = fields["name"].text("the name that people see")
            if len(name) > NAME_CHARS_MAX:
                fields["name"].raise_error(
                    f"is longer than {NAME_CHARS_MAX} characters: say the rest in `description:`"
                )
        description = ""
        if "description" in fields:
            description = fields["description"].text("what the segment is for")
        return Rule(segment_id, name, description, node, describe_condition(node))

    def _parse_segment(self, segment_id: str) -> Node:
        if segment_id not in self._parsed:
            self._open_references.append(segment_id)
            outer_count, self._condition_count = self._condition_count, 0
            self._parsed[segment_id] = (
                self._parse_node(self._definitions[segment_id][1]),
                self._condition_count,
            )
            self._condition_count = outer_count
            self._open_references.pop()
        node, conditions = self._parsed[segment_id]
        self._condition_count += conditions
        return node

    def _parse_node(self, entry: YamlNode) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            entry.raise_error(f"lies more than {DEPTH_MAX} conditions deep: write it flatter")
        node = self._parse_condition(entry)
        self._depth -= 1
        self._condition_count += 1
        if self._condition_count > CONDITIONS_MAX:
            entry.raise_error(f"comes to more than {CONDITIONS_MAX:,} conditions: make it smaller")
        return node

    def _parse_condition(self, entry: YamlNode) -> Node:
        if entry.is_text:
            return _parse_comparison(entry)
        fields = entry.fields(f"a condition, as in {_CONDITION_EXAMPLE}")
        keys = [key for key in _CONDITION_KEYS if key in fields]
        if len(keys) != 1:
            problem = f"both `{keys[0]}` and `{keys[1]}`" if keys else "none"
            for written in () if keys else fields:
                key_meant = _SYNONYMS.get(written.lower(), written.lower())
                problem += (
                    f" (for `{written}` write `{key_meant}`)"
                    if key_meant in _CONDITION_KEYS
                    else ""
                )
            entry.raise_error(
                f"a condition has one of {', '.join(_CONDITION_KEYS)}, this has {problem}"
            )
        kind = keys[0]
        parsers: dict[str, Callable[[YamlNode, dict[str, YamlNode]], Node]] = {
            "all": self._parse_all,
            "any": self._parse_any,
            "not": self._parse_not,
            "event": _parse_window,
            "no": _parse_absence,
            "sequence": _parse_sequence,
            "segment": self._parse_reference,
            "holdout": self._parse_holdout,
        }
        return parsers[kind](entry, fields)

    def _parse_all(self, entry: YamlNode, fields: dict[str, YamlNode]) -> Node:
        return All(self._parse_parts(entry, fields, "all"))

    def _parse_any(self, entry: YamlNode, fields: dict[str, YamlNode]) -> Node:
        return Any(self._parse_parts(entry, fields, "any"))

    def _parse_parts(
        self, entry: YamlNode, fields: dict[str, YamlNode], key: str
    ) -> tuple[Node, ...]:
        entry.check_keys(fields, (key,), f"`{key}`")
        return tuple(
            self._parse_node(part) for part in fields[key].items("conditions, `- ` before each")
        )

    def _parse_not(self, entry: YamlNode, fields: dict[str, YamlNode]) -> Node:
        entry.check_keys(fields, ("not",), "`not`")
        return Not(self._parse_node(fields["not"]))

    def _parse_reference(self, entry: YamlNode, fields: dict[str, YamlNode]) -> Node:
        entry.check_keys(fields, ("segment",), "`segment`")
        reference = fields["segment"]
        segment_id = reference.text("the id of another segment of this file")
        if segment_id in self._open_references:
            cycle = " -> ".join(
                [*self._open_references[self._open_references.index(segment_id) :], segment_id]
            )
            reference.raise_error(
                f"goes round in a circle ({cycle}): take one of the references out"
            )
        if segment_id.startswith(_RESERVED_PREFIXES):
            reference.raise_error(
                f"`{segment_id}` is decided over all shoppers, later than rules are: a rule can "
                f"speak of "
                "segments of this file only; repeat what it means as conditions"
            )
        if segment_id not in self._entries:
            reference.raise_error(
                f"there is no segment `{segment_id}` in this file{suggest(segment_id, self._entries)}"
            )
        return self._parse_segment(segment_id)

    def _parse_holdout(self, entry: YamlNode, fields: dict[str, YamlNode]) -> Node:
        entry.check_keys(fields, ("holdout", "salt"), "`holdout`")
        share = parse_share_micros(fields["holdout"].text("a share, as in `10 %`"))
        if not share:
            fields["holdout"].raise_error("is no share: write `10 %`, at most `100 %`")
        salt = self._open_references[-1]
        if "salt" in fields:
            salt = fields["salt"].text("any word: another one holds out others")
        return Holdout(share, salt)


def _parse_comparison(entry: YamlNode) -> Node:
    text = entry.text(f"a condition, as in {_CONDITION_EXAMPLE}")
    parsed = _COMPARISON.fullmatch(text)
    if parsed is None:
        entry.raise_error(f"`{text}` is no condition: write {_CONDITION_EXAMPLE}")
    name, comparison = parsed["name"], parsed["said"].strip()
    if name not in features.FEATURE_NAMES:
        suggestion = suggest(name, features.FEATURE_NAMES)
        entry.raise_error(
            f"there is no feature `{name}`{suggestion}: {', '.join(features.FEATURE_NAMES)}"
        )
    if name in features.TEXT_FEATURES:
        return _parse_text(entry, name, comparison)
    return _parse_number(entry, name, comparison)


def _parse_number(entry: YamlNode, name: str, comparison: str) -> Node:
    unit = DAYS
    if name in features.NUMBER_FEATURES:
        unit = features.NUMBER_FEATURES[name].unit
    elif name in features.SESSION_FEATURES:
        unit = features.SESSION_FEATURES[name].unit
    if name in features.SHARE_FEATURES:
        comparison = _PERCENT.sub(lambda percent: f"{Decimal(percent[1]) / 100:f}", comparison)
    is_negated = comparison.startswith(("!=", "is not "))
    if is_negated:
        comparison = re.sub(r"^(?:!=|is not)", "=", comparison)
    amount = parse_bounds(comparison, unit)
    if amount is None and (joined := _JOINED_CONDITIONS.search(comparison)):
        word = "all" if joined[1] in ("and", "&&") else "any"
        entry.raise_error(f"is more than one condition: write them as a list below `{word}:`")
    if amount is None:
        entry.raise_error(
            f"`{comparison}` is no amount: {_BOUNDS_EXAMPLE}, or `>=`, `<=`, `>`, `<`, `=`"
        )
    if name in features.SHARE_FEATURES and max(amount.low or 0, amount.high or 0) > SHARE:
        entry.raise_error(f"`{name}` is a share of 1: write `{name} >= 0.5` or `{name} >= 50 %`")
    if name in features.AGE_FEATURES:
        if amount.low == amount.high:
            entry.raise_error("is exact to the ms and so never true: write `between 3 and 4`")
        amount = replace(amount, words=f"{amount.words} d")
    return Not(Number(name, amount)) if is_negated else Number(name, amount)


def _parse_text(entry: YamlNode, name: str, comparison: str) -> Node:
    parsed = _TEXT_COMPARISON.fullmatch(comparison)
    if parsed is None:
        entry.raise_error(
            f"`{name}` is a text: write `{name} is ...`, `is not ...` or `is one of a, b`"
        )
    values = tuple(value.strip() for value in parsed["values"].split(",") if value.strip())
    allowed = features.TEXT_FEATURES[name].values
    for value in values:
        if allowed and value not in allowed:
            entry.raise_error(f"`{name}` is never `{value}`: it is one of {', '.join(allowed)}")
    if features.TEXT_FEATURES[name].is_path:
        values = tuple(value.strip("/") for value in values)
    node = Text(name, tuple(sorted(set(values))))
    return Not(node) if parsed["not"] else node


def _parse_window(entry: YamlNode, fields: dict[str, YamlNode]) -> Node:
    entry.check_keys(fields, ("event", *_FILTER_KEYS, *_MEASURE_KEYS, "within"), "`event`")
    measures = [measure for measure in _MEASURE_KEYS if measure in fields]
    if len(measures) > 1:
        fields[measures[1]].raise_error(
            f"only one of `{measures[0]}` and `{measures[1]}`: use `all:`"
        )
    event_filter = _parse_filter(fields, "event")
    within_ms = _require_duration_ms(fields["within"]) if "within" in fields else None
    if not measures:
        return Window(event_filter, "count", _AT_LEAST_ONE, within_ms)
    measure = measures[0]
    if measure == "sum of net value":
        if event_filter.types != ("purchase",):
            fields[measure].raise_error("is of purchases less refunds: write `event: purchase`")
        event_filter = _with_types(event_filter, ("purchase", "refund"))
    summed = measure.removeprefix("sum of ")
    unit = SUM_UNITS[summed] if measure.startswith("sum") else COUNT
    amount = _require_bounds(fields[measure], unit)
    highest = max(amount.low or 0, amount.high or 0)
    if not measure.startswith("sum"):
        if amount.high is None and (amount.low or 0) <= 0:
            fields[measure].raise_error("is so of everybody: write at least 1")
        if amount.high is not None and amount.high < 0:
            fields[measure].raise_error("is so of nobody: a count is 0 or more")
    if measure.startswith("distinct") and highest >= EXACT_COUNT_MAX:
        fields[measure].raise_error(f"is kept up to {EXACT_COUNT_MAX - 1}: write a smaller number")
    return Window(event_filter, measure, amount, within_ms)


def _parse_absence(entry: YamlNode, fields: dict[str, YamlNode]) -> Node:
    entry.check_keys(fields, ("no", *_FILTER_KEYS, "within", "for"), "`no`")
    if "within" in fields and "for" in fields:
        fields["for"].raise_error("only one of `within` and `for`")
    duration = fields.get("within") or fields.get("for")
    within_ms = None if duration is None else _require_duration_ms(duration)
    absent = Not(Window(_parse_filter(fields, "no"), "count", _AT_LEAST_ONE, within_ms))
    if "for" not in fields or within_ms is None:
        return absent
    first_seen = Bounds(within_ms, None, f"at least {format_duration(within_ms)}")
    return All((absent, Number("first_seen_days", first_seen)))


def _parse_sequence(entry: YamlNode, fields: dict[str, YamlNode]) -> Node:
    entry.check_keys(fields, ("sequence", "same", "within"), "`sequence`")
    steps = fields["sequence"].items("steps, `- event: cart_add` first")
    if "within" not in fields:
        entry.raise_error(
            f"`within:` is missing: how long ago the first step may be; {_DURATION_EXAMPLE}"
        )
    within_ms = _require_duration_ms(fields["within"])
    same_item = "same" in fields
    if same_item and fields["same"].text("`item`") != "item":
        fields["same"].raise_error("steps can be of the same `item` only: write `same: item`")
    parsed_steps: list[Step] = []
    absent: Step | None = None
    for n, step in enumerate(steps):
        step_fields = step.fields("a step, as in `then: checkout_start`")
        key = "event" if n == 0 else "then no" if "then no" in step_fields else "then"
        if key not in step_fields:
            step.raise_error("begins with `event:`" if n == 0 else "write `then:` or `then no:`")
        if absent is not None:
            step.raise_error("`then no` is about all that comes after: let it be the last step")
        step.check_keys(step_fields, (key, *_FILTER_KEYS, *(("within",) if n else ())), f"`{key}`")
        step_within_ms = (
            _require_duration_ms(step_fields["within"]) if "within" in step_fields else None
        )
        parsed_step = Step(_parse_filter(step_fields, key), step_within_ms)
        if same_item and (itemless := _TYPES_WITHOUT_ITEMS & {*parsed_step.events.types}):
            step_fields[key].raise_error(
                f"`{min(itemless)}` is of no item: take it out, or `same: item`"
            )
        if key == "then no":
            if step_within_ms is None:
                step.raise_error(
                    f"`within:` is missing: how long nothing must have come; {_DURATION_EXAMPLE}"
                )
            absent = parsed_step
        else:
            parsed_steps.append(parsed_step)
    if len(steps) < 2:
        fields["sequence"].raise_error("has one step: add `- then: ...` or write it as `event:`")
    if absent is not None and absent.within_ms is not None and absent.within_ms >= within_ms:
        fields["within"].raise_error(
            "must be longer than that of the last step, or nobody is ever in it"
        )
    return Sequence(tuple(parsed_steps), absent, within_ms, same_item)


def _parse_filter(fields: dict[str, YamlNode], key: str) -> Filter:
    event_types = _parse_texts(fields[key], "a type of event, as in `item_view`")
    for name in event_types:
        if name not in _EVENT_TYPES:
            suggestion = suggest(name, _EVENT_TYPES)
            fields[key].raise_error(
                f"there is no event `{name}`{suggestion}: {', '.join(_EVENT_TYPES)}"
            )
    if features.ANY_EVENT in event_types:
        event_types = (features.ANY_EVENT,)
    listed: dict[str, tuple[str, ...]] = {}
    for name, filter_field in _LIST_FILTERS.items():
        if name in fields:
            values = _parse_texts(fields[name], "what it has to be, or a list of that")
            if name in _PATH_FILTERS:
                values = tuple(value.strip("/") for value in values)
            if name == "query":
                values = tuple(value.lower() for value in values)
            listed[filter_field] = values
    price = _require_bounds(fields["price"], MONEY) if "price" in fields else None
    value = _require_bounds(fields["value"], MONEY) if "value" in fields else None
    return Filter(event_types, price=price, value=value, **listed)


def _with_types(event_filter: Filter, event_types: tuple[str, ...]) -> Filter:
    return replace(event_filter, types=event_types)


def _parse_texts(entry: YamlNode, expected: str) -> tuple[str, ...]:
    entries = entry.items(expected) if entry.is_list else [entry]
    return tuple(sorted({text_entry.text(expected) for text_entry in entries}))


def _require_duration_ms(entry: YamlNode) -> int:
    text = entry.text(_DURATION_EXAMPLE)
    ms = parse_duration_ms(text)
    if ms is None:
        entry.raise_error(
            f"`{text}` is no span of time (of at most ten years): {_DURATION_EXAMPLE}"
        )
    return ms


def _require_bounds(entry: YamlNode, unit: int) -> Bounds:
    text = entry.text(_BOUNDS_EXAMPLE)
    amount = parse_bounds(text, unit)
    if amount is None:
        entry.raise_error(f"`{text}` is no amount: {_BOUNDS_EXAMPLE}")
    return amount


_AT_LEAST_ONE = Bounds(1, None, "at least 1")
