"""Every family of Redis keys has one writer. Other modules delete, expire or read: each is named."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import state
from state import keys

ROOT = Path(state.__file__).parent.parent

FAMILIES = sorted(
    name for name in vars(keys) if name.endswith("_key") and name not in ("shopper_key",)
)
WRITER = {
    "profile_key": "operators/publish/profiles.py",
    "segments_key": "operators/publish/memberships.py",
    "members_key": "operators/publish/memberships.py",
    "top_key": "operators/publish/shopper_lists.py",
    "similar_key": "operators/publish/item_lists.py",
    "bought_key": "operators/publish/item_lists.py",
    "popular_key": "operators/publish/popular.py",
    "meta_key": "operators/publish/counters.py",
    "shop_now_key": "operators/publish/shop_stats.py",
    "shop_history_key": "operators/publish/shop_stats.py",
    "shop_history_hours_key": "operators/publish/shop_stats.py",
    "kpi_now_key": "operators/kpis/publishing.py",
    "kpi_history_hours_key": "operators/kpis/publishing.py",
    "quality_key": "operators/publish/shop_stats.py",
    "recent_key": "operators/publish/shop_stats.py",
    # Not in publish/: what a part computes and packs at once, for speed or since nothing else needs it.
    "session_key": "operators/shards/shopper_writes.py",
    "alias_key": "operators/shards/aliases.py",
    "row_key": "operators/shards/user_shard.py",
    "device_row_key": "operators/shards/device_shard.py",
    "devices_key": "operators/shards/cold_tier.py",
    "erased_key": "state/tombstones.py",
    "definition_key": "state/segments.py",
    "registry_key": "state/segments.py",
    "versions_key": "operators/segments/rules/versions.py",
    "stats_key": "operators/publish/segment_stats.py",
    "history_key": "operators/segments/counts.py",
    "history_hours_key": "operators/segments/counts.py",
    "lifts_key": "operators/segments/lifts.py",
    "overlap_key": "operators/segments/segment_scan.py",
    "clusters_map_key": "operators/publish/cluster_report.py",
    "card_key": "operators/catalogue/item_cards.py",
    "model_key": "operators/models/model_metrics.py",
    "changes_key": "state/keys.py",
    "change_stream_key": "operators/segments/changes.py",
    "events_key": "serving/collector/redis_log.py",
    "dead_hooks_key": "flows/webhooks/sources.py",
    "worker_key": "flows/observability/heartbeat.py",
    "lease_key": "state/store/lease.py",
    "lease_token_key": "state/store/lease.py",
    "process_key": "state/store/process_registry.py",
    "write_marker_key": "state/store/write_marker.py",
}
DELETES = {
    # The shards end shoppers before the step does; `retired_keys` and `retirement` end segments.
    "operators/shards/consent.py",
    "operators/shards/identity_resolution.py",
    "operators/shards/removal.py",
    "operators/shards/session_expiry.py",
    "operators/personalize/removal.py",
    "operators/segments/retired_keys.py",
    "operators/segments/retirement.py",
    "flows/commands/erase.py",
    "flows/sinks/scrub_pass.py",
}
EXPIRES = {
    "operators/shards/shopper_writes.py": {"profile_key"},
    "operators/personalize/rebuild.py": {"profile_key", "session_key"},
}
ADDS_FIELDS = {
    "operators/publish/definitions.py": {"definition_key"},
    "operators/publish/cluster_report.py": {"definition_key"},
}
"""Single fields of a definition: since when it holds, and what sets a cluster apart."""
READS = {
    "flows/commands/check.py",
    "flows/commands/export_subject.py",
    "flows/commands/tune_estimators.py",
    "flows/observability/heartbeat.py",
    "flows/recovery/orphaned_changes.py",
    "flows/runtime/replay_report.py",
    "flows/sources/streams/connection.py",
    "flows/sources/streams/consumer.py",
    "flows/sources/streams/monitor.py",
    "flows/webhooks/sources.py",
    "state/store/fence.py",
    "state/store/store.py",
}
COMMANDS_THAT_WRITE = {"HSET", "HSETNX", "SET", "ZADD", "XADD", "SADD", "EVAL"}


@cache
def users() -> dict[str, set[str]]:
    """The modules of the product that build keys of each family. Of `serving` the collector writes."""
    found: dict[str, set[str]] = {family: set() for family in FAMILIES}
    for folder in ("operators", "flows", "state", "serving/collector"):
        for path in (ROOT / folder).rglob("*.py"):
            text, name = path.read_text(), path.relative_to(ROOT).as_posix()
            if "_key" in text and name != "state/keys.py":
                for family in names_in(ast.parse(text)) & found.keys():
                    found[family].add(name)
    return found


def names_in(tree: ast.AST) -> set[str]:
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_keys_has_one_writer(family: str) -> None:
    of_family, writer = users()[family], WRITER[family]
    assert writer in of_family | {"state/keys.py"}
    others = {
        user
        for user in of_family - {writer} - DELETES - READS
        if family not in EXPIRES.get(user, ()) and family not in ADDS_FIELDS.get(user, ())
    }
    assert others == set()


@pytest.mark.parametrize("module", sorted(DELETES - {"flows/sinks/scrub_pass.py"}))
def test_what_only_deletes_holds_no_command_that_writes(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert not texts & COMMANDS_THAT_WRITE
