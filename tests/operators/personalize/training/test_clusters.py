"""The step `train_clusters`: the features of all shards of a batch in, one whole message out."""

from __future__ import annotations

import numpy as np
import pytest

from operators.personalize.training.clusters import ClusterTrainer
from operators.shards.sharding import canonical_order
from operators.shoppers.features import COLUMN_COUNT, LAST_MS_COLUMN
from operators.tables.barrier import BarrierError
from state import keys
from state.arrays import NO_ROW
from state.config_loader import load
from state.messages import BatchId
from state.shopper import PERSONALIZATION
from state.training import ClusterFeatures, ClustersTrained

SETTINGS = load(
    environment={}, overrides=("sessions.shards=2", "clusters.k=2", "source.batch_events=4096")
)
AT_MS = 1_700_000_000_000


def features(visits: float, at_ms: int = AT_MS) -> bytes:
    row = np.zeros(COLUMN_COUNT)
    row[0] = row[3] = visits
    row[9] = row[LAST_MS_COLUMN] = at_ms
    return row.tobytes()


def message(
    number: int,
    shard: int,
    shoppers: dict[str, tuple[int, float]],
    *,
    sequence: int | None = None,
    last: bool = False,
) -> ClusterFeatures:
    """What a shard says of its shoppers: what each refuses, and its visits."""
    return ClusterFeatures(
        BatchId("p", number),
        number if sequence is None else sequence,
        shard,
        AT_MS - 1000,
        last,
        [*shoppers],
        [refused for refused, _ in shoppers.values()],
        [features(visits) for _, visits in shoppers.values()],
        {f"users:{shard}": 10 * (number + 1)},
    )


def crowd(shard: int, count: int = 200) -> dict[str, tuple[int, float]]:
    """Two kinds of shoppers: of few visits and of many."""
    return {f"{shard} {n}": (0, 1.0 if n % 2 else 400.0) for n in range(count)}


def assigned(trained: ClustersTrained) -> dict[str, int]:
    return dict(
        zip(trained.shoppers, np.frombuffer(trained.labels, np.int64).tolist(), strict=True)
    )


def test_a_batch_gives_one_message_when_all_shards_have_spoken() -> None:
    trainer = ClusterTrainer(SETTINGS)
    assert trainer.process_batch([message(0, 1, {"ann": (0, 3.0)})]) == []
    with pytest.raises(BarrierError, match="train_clusters: 1 batches wait"):
        trainer.snapshot()
    [told] = trainer.process_batch([message(0, 0, {"bob": (0, 3.0)})])
    names = sorted(["bob", "ann"], key=canonical_order)
    assert told == ClustersTrained(
        BatchId("p", 0),
        0,
        names,
        np.array([NO_ROW, NO_ROW]).tobytes(),
        np.full(2, np.nan, np.float32).tobytes(),
        numbers=[],
        next_id=0,
        writes=told.writes,
    )
    assert {write[1] for write in told.writes} <= {keys.model_key("clusters")}


def test_a_batch_without_shoppers_gives_a_message_too() -> None:
    trainer = ClusterTrainer(SETTINGS)
    [told] = trainer.process_batch([message(0, 0, {}), message(0, 1, {})])
    assert (told.batch, told.sequence, told.shoppers, told.labels) == (BatchId("p", 0), 0, [], b"")


def test_shoppers_are_assigned_by_what_was_learned_of_them_too() -> None:
    trainer = ClusterTrainer(SETTINGS)
    [told] = trainer.process_batch([message(0, shard, crowd(shard), last=True) for shard in (0, 1)])
    clusters = assigned(told)
    assert {*clusters.values()} == {*told.numbers} == {0, 1}
    for name, (_, visits) in (crowd(0) | crowd(1)).items():
        assert clusters[name] == clusters["0 0" if visits > 1 else "0 1"]
    assert {number: version for number, (_, version) in told.renamed.items()} == {0: 1, 1: 1}
    events = dict(zip(told.writes[0][2::2], told.writes[0][3::2], strict=True))
    assert (events["k"], events["events"]) == (2, 20)


def test_who_refuses_is_neither_learned_nor_assigned() -> None:
    plain, other = ClusterTrainer(SETTINGS), ClusterTrainer(SETTINGS)
    refusing = {"eve": (PERSONALIZATION, 1e6)}
    [told] = plain.process_batch([message(0, 0, crowd(0)), message(0, 1, crowd(1))])
    [without] = other.process_batch([message(0, 0, crowd(0)), message(0, 1, crowd(1) | refusing)])
    clusters = assigned(without)
    assert clusters.pop("eve") == NO_ROW
    assert clusters == assigned(told)
    assert {k: v.tobytes() for k, v in plain.clusters.arrays().items()} == {
        k: v.tobytes() for k, v in other.clusters.arrays().items()
    }


def test_a_restored_trainer_goes_on_as_if_nothing_had_happened() -> None:
    trainer = ClusterTrainer(SETTINGS)
    trainer.process_batch([message(0, shard, crowd(shard), last=True) for shard in (0, 1)])
    restored = ClusterTrainer(SETTINGS, trainer.snapshot())
    again = [message(1, shard, crowd(shard, 50)) for shard in (0, 1)]
    [told], [after] = trainer.process_batch(again), restored.process_batch(again)
    # With its first message after a start it tells all names.
    assert after.renamed == restored.current_definitions()
    after.renamed = told.renamed
    assert after == told
    assert restored.snapshot() == trainer.snapshot()
