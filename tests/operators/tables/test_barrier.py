"""A barrier: every batch once, whole, in one order, whatever the order of arrival between senders."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.tables.barrier import Barrier, BarrierError


class Sent(NamedTuple):
    """A message of a sender that speaks for `parts` others."""

    sender: int
    sequence: int
    parts: int


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Sent], int, int]:
    """Messages of several senders, each in its own order, mixed in any way."""
    weights = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    batches = draw(st.integers(0, 8))
    turns = draw(
        st.permutations([sender for sender in range(len(weights)) for _ in range(batches)])
    )
    sent = [0] * len(weights)
    arrived = []
    for sender in turns:
        arrived.append(Sent(sender, sent[sender], weights[sender]))
        sent[sender] += 1
    return arrived, sum(weights), batches


@given(arrivals())
def test_every_batch_is_given_once_whole_and_in_order(case: tuple[list[Sent], int, int]) -> None:
    arrived, parts, batches = case
    barrier: Barrier[Sent] = Barrier("step", parts)
    whole = [batch for message in arrived for batch in barrier.add(message)]
    assert [{message.sequence for message in batch} for batch in whole] == [
        {number} for number in range(batches)
    ]
    assert sorted(chain.from_iterable(whole)) == sorted(arrived)
    for batch in whole:
        assert sum(message.parts for message in batch) == parts
        assert batch == [message for message in arrived if message.sequence == batch[0].sequence]
    barrier.check_empty()


@given(arrivals(), st.data())
def test_a_batch_is_given_with_the_message_that_makes_it_whole(
    case: tuple[list[Sent], int, int], data: st.DataObject
) -> None:
    arrived, parts, _ = case
    barrier: Barrier[Sent] = Barrier("step", parts)
    for number, message in enumerate(arrived, 1):
        given_now = {batch[0].sequence for batch in barrier.add(message)}
        before, after = (
            {
                sequence
                for sequence in {one.sequence for one in arrived}
                if sum(one.parts for one in arrived[:count] if one.sequence == sequence) == parts
            }
            for count in (number - 1, number)
        )
        assert given_now == after - before


def test_what_waits_at_the_end_of_an_epoch_is_an_error_that_names_step_and_batch() -> None:
    barrier: Barrier[Sent] = Barrier("learn", 3)
    barrier.add(Sent(0, 0, 2))
    barrier.add(Sent(0, 1, 2))
    with pytest.raises(BarrierError, match=r"learn: 2 batches wait .* batch 0 has 2 of 3 parts"):
        barrier.check_empty()
    assert barrier.add(Sent(1, 0, 1)) == [[Sent(0, 0, 2), Sent(1, 0, 1)]]
    with pytest.raises(BarrierError, match=r"learn: 1 batches wait .* batch 1 has 2 of 3 parts"):
        barrier.check_empty()


def test_more_parts_than_there_are_is_an_error() -> None:
    barrier: Barrier[Sent] = Barrier("learn", 2)
    barrier.add(Sent(0, 1, 1))
    with pytest.raises(BarrierError, match="batch 1 has 3 parts, 2 are whole"):
        barrier.add(Sent(1, 1, 2))


def test_after_a_resume_batches_may_begin_with_any_number() -> None:
    barrier: Barrier[Sent] = Barrier("learn", 1)
    assert barrier.add(Sent(0, 7, 1)) == [[Sent(0, 7, 1)]]
    assert barrier.add(Sent(0, 0, 1)) == [[Sent(0, 0, 1)]]
