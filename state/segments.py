"""What a segment is: its definition, its line in the registry of all, and the ids of the built-in ones.

Change freely: names and descriptions. Never: the ids, which pages and marketers refer to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import orjson

from state import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.messages import Arguments, Write

Kind = Literal["cluster", "rfm", "lifecycle", "propensity", "rule"]


class Definition(msgspec.Struct, frozen=True):
    """A segment in words. `rule` says who belongs to it; a new `version` is another group of people."""

    id: str
    kind: Kind
    name: str
    description: str
    rule: str
    version: int = 1
    status: str = "live"


def cluster_id(cluster: int) -> str:
    """The segment of a cluster; the id stays while the centre moves."""
    return f"cluster-{cluster}"


def cluster_definition(cluster: int, name: str, version: int) -> Definition:
    """The segment of a cluster, as it is called now."""
    description = "Shoppers alike in how they visit and buy, found by clustering."
    return Definition(cluster_id(cluster), "cluster", name, description, "nearest centre", version)


def definition_writes(
    definitions: Iterable[Definition], updated_ms: int | None = None
) -> list[Write]:
    """Each definition, and its line in the registry.

    `updated_ms` is when that changed; None where it is told again.
    """
    writes: list[Write] = []
    for one in definitions:
        summary = {
            "kind": one.kind,
            "version": one.version,
            "status": one.status,
            "name": one.name,
        }
        fields: Arguments = ("HSET", keys.definition_key(one.id), "name", one.name)
        fields += ("kind", one.kind, "description", one.description)
        fields += ("version", one.version, "status", one.status, "rule", one.rule)
        if updated_ms is not None:
            fields += ("updated_ms", updated_ms)
        writes += [fields, ("HSET", keys.registry_key(), one.id, orjson.dumps(summary).decode())]
    return writes
