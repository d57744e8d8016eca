"""The definition of a segment, and its line in the registry."""

from state import keys
from state.segments import cluster_definition, definition_writes


def test_a_segment_has_a_definition() -> None:
    (definition, entry) = definition_writes([cluster_definition(1, "keen", 2)], 9)
    assert definition[:2] == ("HSET", keys.definition_key("cluster-1"))
    assert dict(zip(definition[2::2], definition[3::2], strict=True)) == {
        "name": "keen",
        "kind": "cluster",
        "description": "Shoppers alike in how they visit and buy, found by clustering.",
        "version": 2,
        "status": "live",
        "rule": "nearest centre",
        "updated_ms": 9,
    }
    summary = '{"kind":"cluster","version":2,"status":"live","name":"keen"}'
    assert entry == ("HSET", keys.registry_key(), "cluster-1", summary)
