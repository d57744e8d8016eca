"""The slot map of a cluster, from the reply of one of its nodes."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from state.store.error_messages import RefusedError
from state.store.topology import slot_map

REPLY = [
    [0, 8191, [b"10.0.0.1", 7000, b"id"], [b"10.0.0.3", 7002, b"id"]],
    [8192, 16383, [b"", 7001, b"id"]],
]


def test_every_slot_has_its_primary_and_all_nodes_are_known() -> None:
    slots, nodes = slot_map(REPLY, "10.0.0.2")
    assert slots == [("10.0.0.1", 7000)] * 8192 + [("10.0.0.2", 7001)] * 8192
    assert nodes == [("10.0.0.1", 7000), ("10.0.0.3", 7002), ("10.0.0.2", 7001)]


def test_a_slot_without_a_node_is_an_error_that_may_pass() -> None:
    with pytest.raises(RefusedError, match="CLUSTERDOWN slots without a node"):
        slot_map(REPLY[:1], "10.0.0.2")
    with pytest.raises(RefusedError, match="CLUSTERDOWN"):
        slot_map(ResponseError("CLUSTERDOWN the cluster is down"), "10.0.0.2")
