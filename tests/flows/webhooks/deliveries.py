"""What became of changes: dead letters, pending ones, and the order of arrival."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from state import keys

if TYPE_CHECKING:
    from tests.hooks_runs import Request, Shop


def dead_letters(shop: Shop, name: str = "a") -> list[dict[bytes, bytes]]:
    return [fields for _, fields in shop.store.client.xrange(keys.dead_hooks_key(name))]


def pending_count(shop: Shop, name: str = "a") -> int:
    """Changes that were delivered to the group and are not acknowledged."""
    groups = [shop.store.client.xinfo_groups(keys.change_stream_key(n)) for n in range(8)]
    return sum(g["pending"] for all_ in groups for g in all_ if g["name"].endswith(name.encode()))


def assert_in_order(requests: list[Request]) -> None:
    """Assert that the changes of each shopper first arrived in the order of their times."""
    seen: dict[str, list[str]] = defaultdict(list)
    for one in requests:
        if one.id not in seen[one.json["userId"]]:
            seen[one.json["userId"]].append(one.id)
    times = {one.id: one.json["timestamp"] for one in requests}
    for ids in seen.values():
        assert [times[one] for one in ids] == sorted(times[one] for one in ids)
