"""Everything again: what Redis should hold, made from what a flow has stored.

For a Redis that came back empty, or is a new one. All of it is of the one moment at which the flow goes
on; whatever the flow writes after that is the same as it would have been. Change streams are history,
and not told again. Shards are loaded one after the other, and writes come in portions.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from operators import profile
from operators.features import feature_row
from operators.learning import Learning
from operators.rows import StoredRows
from operators.shards import Watermark
from state import keys
from state.snapshots import LEARNED, DevicesState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.visit import Rules
    from state.config import Settings
    from state.journal import Journals
    from state.messages import Active, Write
    from state.shopper import Shopper
    from state.snapshots import LearnedState, UsersState

PORTION = 1000
"""Shoppers, links or items in a portion."""


def retold(
    settings: Settings,
    rules: Rules,
    learned: LearnedState,
    shards: Iterable[DevicesState | UsersState],
    journals: Journals,
) -> Iterator[list[Write]]:
    """All writes, in portions. What is told of many comes before the lists of each shopper."""
    learning = Learning(settings, LEARNED.encode(learned), journals)
    shards = list(shards)
    reached_ms = max((Watermark(one.watermarks).reached_ms for one in shards), default=0)
    yield from learning.rest_again(reached_ms, PORTION)
    for state in shards:
        kind, stored_links = (
            ("devices", state.links) if isinstance(state, DevicesState) else ("users", {})
        )
        stored = StoredRows(kind, journals)
        rows, links = stored.load(state.journal, state.rows, stored_links)
        shoppers = iter(rows.items())
        while some := list(islice(shoppers, PORTION)):
            yield _shoppers(some, learning, rules, reached_ms)
        linked = iter(links.items())
        while found := list(islice(linked, PORTION)):
            yield [
                ("SET", keys.alias_key(anonymous_id), user, "EX", rules.alias_ttl_s)
                for anonymous_id, (user, _) in found
            ]


def _shoppers(
    some: list[tuple[str, Shopper]], learning: Learning, rules: Rules, now_ms: int
) -> list[Write]:
    """Profiles with the life they have left, running sessions, lists."""
    active: list[Active] = []
    writes: list[Write] = []
    for name, shopper in some:
        ttl_s = rules.known_ttl_s if shopper.known else rules.anonymous_ttl_s
        ttl_s -= max(0, now_ms - shopper.last_ms) // 1000
        if ttl_s <= 0:
            continue
        category, share = rules.tastes.strongest(shopper)
        key = keys.profile_key(name)
        arguments, count = profile.profile_arguments(key, shopper, category, share)
        wants_lists = shopper.consent[2] is not False
        features = feature_row(shopper, share)
        active.append((name, shopper.known, wants_lists, features, arguments, count))
        writes.append(("EXPIRE", key, ttl_s))
        if shopper.open:
            session = keys.session_key(name)
            writes.append(profile.session_write(name, session, shopper.open[-1]))
            writes.append(("PEXPIRE", session, rules.session_ttl_ms))
    if not active:
        return []
    return learning.profiles_again(active) + writes + learning.lists_again(active)
