"""The step `train_propensity`: entries of all shards of a batch in, one whole message out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from operators.personalize.training.propensity import PropensityTrainer
from operators.segments.propensity.profile_fields import FIELDS, NO_STEP
from operators.shards.sharding import canonical_order
from operators.shoppers.features import COLUMN_COUNT, LAST_MS_COLUMN
from operators.tables.barrier import BarrierError
from state.config_loader import load
from state.journal import Journals
from state.messages import BatchId
from state.shopper import PERSONALIZATION
from state.training import PropensityEvents, PropensityTrained

SETTINGS = load(environment={}, overrides=("sessions.shards=2", "state.shoppers_max=20"))
AT_MS = 1_700_000_000_000


def features(at_ms: int) -> bytes:
    row = np.ones(COLUMN_COUNT)
    row[9] = row[LAST_MS_COLUMN] = at_ms
    return row.tobytes()


def message(
    number: int, shard: int, shoppers: dict[str, int] | None = None, **more: Any
) -> PropensityEvents:
    """What a shard says of active shoppers, by what each refuses, and of those who are no more."""
    shoppers = shoppers or {}
    fields: dict[str, Any] = {
        name: more.get(name, []) for name in ("merged", "erased", "withdrawn", "evicted")
    }
    return PropensityEvents(
        BatchId("p", number),
        number,
        shard,
        AT_MS + 1000 * number,
        bool(more.get("last")),
        [*shoppers],
        [*shoppers.values()],
        [name.isupper() for name in shoppers],
        [features(AT_MS + number) for _ in shoppers],
        [],
        [],
        [],
        [],
        **fields,
    )


def trained(
    trainer: PropensityTrainer, number: int, *shards: PropensityEvents
) -> PropensityTrained:
    """The one message of a batch, of which shards that are not given say nothing."""
    silent = {0, 1} - {one.shard for one in shards}
    [told] = trainer.process_batch([*shards, *(message(number, shard) for shard in silent)])
    return told


def known(trainer: PropensityTrainer) -> dict[str, bool]:
    index = trainer.shoppers.index
    return {name: bool(trainer.shoppers.known[row]) for name, row in index.row_by_id.items()}


def test_a_batch_gives_one_message_when_all_shards_have_spoken(tmp_path: Any) -> None:
    trainer = PropensityTrainer(SETTINGS)
    assert trainer.process_batch([message(0, 0, {"ann": 0, "BOB": 0})]) == []
    with pytest.raises(BarrierError, match="train_propensity: 1 batches wait"):
        trainer.snapshot()
    [told] = trainer.process_batch([message(0, 1, {"eve": PERSONALIZATION})])
    assert told == PropensityTrained(
        BatchId("p", 0),
        0,
        sorted(["ann", "BOB"], key=canonical_order),
        np.full((2, len(FIELDS)), NO_STEP, np.int16).tobytes(),
        status="learning: 0 of 100 outcomes that came true",
        writes=told.writes,
    )
    assert known(trainer) == {"ann": False, "BOB": True}


def test_a_batch_without_shoppers_gives_a_message_too() -> None:
    told = trained(PropensityTrainer(SETTINGS), 0)
    assert (told.shoppers, told.steps, told.transitions, told.updates) == ([], b"", [], [])


def test_nothing_is_kept_of_who_is_no_more() -> None:
    trainer = PropensityTrainer(SETTINGS)
    trained(trainer, 0, message(0, 0, dict.fromkeys("abcdefg", 0)))
    gone = message(1, 0, {"f": 0}, merged=["a"], erased=["b"], withdrawn=["c"], evicted=["d", "f"])
    trained(trainer, 1, gone)
    assert {*known(trainer)} == {"e", "f", "g"}  # `f` came back in the same batch
    live = {trainer.shoppers.index.ids[row] for row in trainer.models._features.live_rows()}
    assert live == {"e", "f", "g"}


def test_above_the_limit_those_inactive_for_longest_go() -> None:
    trainer = PropensityTrainer(SETTINGS)
    for number in range(5):
        names = {f"{number}-{n}": 0 for n in range(5)}
        trained(trainer, number, message(number, 0, names))
    assert len(known(trainer)) <= 20
    assert {f"4-{n}" for n in range(5)} <= known(trainer).keys()


@pytest.mark.parametrize("stored", [False, True], ids=["in the snapshot", "in a journal"])
def test_a_restored_trainer_goes_on_as_if_nothing_had_happened(tmp_path: Any, stored: bool) -> None:
    journals = Journals(tmp_path, ratio=1.0) if stored else None
    trainer = PropensityTrainer(SETTINGS, None, journals)
    trained(trainer, 0, message(0, 0, {"ann": 0, "BOB": 0, "zoe": 0}))
    trainer.snapshot()
    trained(trainer, 1, message(1, 0, {"dan": 0}, evicted=["ann"]))
    restored = PropensityTrainer(
        SETTINGS, trainer.snapshot(), Journals(tmp_path, ratio=1.0) if stored else None
    )
    assert known(restored) == known(trainer) == {"BOB": True, "zoe": False, "dan": False}
    later = message(2, 1, {"zoe": 0, "new": 0})
    told, after = trained(trainer, 2, later), trained(restored, 2, later)
    assert after == told


def test_the_journal_is_rewritten_when_it_names_somebody_who_was_erased(tmp_path: Any) -> None:
    trainer = PropensityTrainer(SETTINGS, None, Journals(tmp_path, ratio=1.0))
    trained(trainer, 0, message(0, 0, {"bob-the-erased": 0, "ann": 0}))
    trainer.snapshot()
    trained(trainer, 1, message(1, 0, erased=["bob-the-erased"], last=True))
    trainer.snapshot()
    newest = max(tmp_path.iterdir(), key=lambda path: int(path.name.split(".")[1]))
    assert b"ann" in newest.read_bytes()
    assert b"bob-the-erased" not in newest.read_bytes()
