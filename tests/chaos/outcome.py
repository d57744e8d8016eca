"""What a run left in Redis, and what must hold of it whatever happened on the way."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from operators.publish.digest import deterministic_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.store import Store

SHOWN = 5
COUNTED = ("events", "accepted", "duplicates", "suppressed", "rejected", "shoppers")


class Outcome(NamedTuple):
    """Facts by key: profiles, sessions, aliases, counters; and what contradicts itself."""

    facts: dict[str, Any]
    contradictions: list[str]

    @property
    def meta(self) -> dict[str, Any]:
        """The flow's own counters."""
        return {name.decode(): orjson.loads(value) for name, value in self.facts["ps:1:meta"]}

    def total(self, field: str) -> Decimal:
        """The sum of a profile field over all shoppers, exact."""
        name = field.encode()
        parts = (
            Decimal(value.decode())
            for key, pairs in self.facts.items()
            if key.endswith("}:profile")
            for found, value in pairs
            if found == name
        )
        return sum(parts, Decimal(0))


def outcome(store: Store) -> Outcome:
    """Read all that the contract names."""
    rows = dict(store.rows())
    return Outcome(dict(deterministic_rows(rows.items())), [*_contradictions(rows)])


def differences(expected: Outcome, got: Outcome, *, ignore: Iterable[str] = ()) -> list[str]:
    """Where two runs differ in facts, a line each; `ignore` names counters and profile fields."""
    ignored = {name.encode() for name in ignore}
    lines = []
    for key in sorted({*expected.facts, *got.facts}):
        one, other = (_without(run.facts.get(key), ignored) for run in (expected, got))
        if one != other:
            changed = set(one or ()) ^ set(other or ())
            lines.append(f"{key}: {sorted(changed)[:8] if one and other else (one, other)}")
    return lines


def assert_same(expected: Outcome, got: Outcome, *, ignore: Iterable[str] = ()) -> None:
    """The facts of both runs are the same, and the second one does not contradict itself."""
    lines = [*differences(expected, got, ignore=ignore), *got.contradictions]
    assert not lines, f"{len(lines)} differences: " + "; ".join(lines[:SHOWN])


def _without(value: Any, ignored: set[bytes]) -> Any:
    if isinstance(value, list):
        return [pair for pair in value if pair[0] not in ignored]
    return value


EXCLUSIVE = ("cluster-", "rfm-", "lifecycle-")
"""Kinds of segments of which a shopper is in one at most."""


def _contradictions(rows: dict[str, Any]) -> Iterable[str]:
    """Memberships, changes, profiles and counters that do not agree with each other."""
    listed, stored, entered = _memberships(rows)
    for what, one, other in (
        ("in members, not in the shopper's segments", listed, stored),
        ("in the shopper's segments, not in members", stored, listed),
        ("in members, without a change that entered", listed, entered),
        ("entered by a change, not in members", entered, listed),
    ):
        if one - other:
            yield f"{len(one - other)} {what}, as {min(one - other)}"
    for kind in EXCLUSIVE:
        names = [name for name, sid in stored if sid.startswith(kind)]
        if len(set(names)) < len(names):
            yield f"a shopper is in several segments of {kind}*"
    profiles = {key for key in rows if key.endswith("}:profile")}
    homeless = {name for name, _ in stored if f"ps:1:shopper:{{{name}}}:profile" not in profiles}
    if homeless:
        yield f"{len(homeless)} members without a profile, as {min(homeless)}"
    meta = dict(rows["ps:1:meta"])
    counts = {name: orjson.loads(meta[name.encode()]) for name in COUNTED}
    if counts["events"] != sum(
        (
            *(counts[name] for name in ("accepted", "duplicates", "suppressed")),
            *counts["rejected"].values(),
        )
    ):
        yield f"read is not accepted + rejected + duplicates + suppressed: {counts}"
    if len(profiles) != counts["shoppers"]:
        yield f"{len(profiles)} profiles, {counts['shoppers']} shoppers counted"


Pairs = set[tuple[str, str]]


def _memberships(rows: dict[str, Any]) -> tuple[Pairs, Pairs, Pairs]:
    """(shopper, segment) as the segments list them, as the shoppers store them, as changes have it."""
    listed, stored = set(), set()
    latest_kinds: dict[tuple[str, str], bytes] = {}
    for key, value in rows.items():
        if found := re.fullmatch(r"ps:1:segment:\{(.+)\}:members", key):
            listed |= {(name.decode(), found[1]) for name, _ in value}
        elif found := re.fullmatch(r"ps:1:shopper:\{(.+)\}:segments", key):
            stored |= {(found[1], sid.decode()) for sid, _ in value}
        elif key.startswith("ps:1:changes:"):
            for _, fields in value:
                if fields[b"kind"] in (b"enter", b"leave"):
                    pair = fields[b"shopper"].decode(), fields[b"segment"].decode()
                    latest_kinds[pair] = fields[b"kind"]
    return listed, stored, {pair for pair, kind in latest_kinds.items() if kind == b"enter"}
