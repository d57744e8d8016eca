"""Writing only what changed leaves in Redis what writing all leaves there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.personalize.batch import Batch
from operators.personalize.training.items import ItemTraining
from state.resp import pack_command
from tests.operators.personalize.training.test_items import messages
from tests.streams import MINUTE_MS, Flow, arguments, event, flow_settings, streams, view
from tests.written import as_read

if TYPE_CHECKING:
    from state.events import Event


def always_whole() -> Flow:
    """A flow that takes every shopper for one that an earlier run may have written."""
    flow = Flow()
    for shoppers in [
        *(one.shoppers for one in flow.devices),
        *(one.shoppers for one in flow.users),
    ]:
        shoppers.written_since_ms = 2**62
    return flow


@given(streams(), st.sampled_from([1, 3, 20]))
def test_readers_see_the_same_as_if_all_fields_were_written(
    stream: list[Event], batch_events: int
) -> None:
    flow, whole = Flow(), always_whole()
    for one in (flow, whole):
        for start in range(0, len(stream), batch_events):
            one.feed(stream[start : start + batch_events])
        one.feed([], last=True)
    assert as_read(flow.visited) == as_read(whole.visited)
    assert all(row.is_whole for output in whole.visited for row in output.active)


@pytest.mark.parametrize(
    ("at_ms", "fields"),
    [
        (
            MINUTE_MS,
            "events last_ms session_s_mean depth views cart_rate top_category top_category_share",
        ),
        (40 * MINUTE_MS, "events last_ms sessions session_s_mean depth views cart_rate intent"),
    ],
)
def test_a_view_writes_what_it_changes(at_ms: int, fields: str) -> None:
    flow = Flow()
    flow.feed([view(1, 0), event("cart_add", 2, 0)])
    flow.feed([view(3, at_ms)])
    newest = [row for output in flow.visited for row in output.active][-1]
    command = arguments(pack_command(newest.profile, newest.argument_count))
    assert set(fields.split()) <= set(command[2::2])
    assert not {"known", "first_ms", "carts", "purchases", "revenue"} & set(command[2::2])


def test_live_batches_that_are_processed_at_once_write_what_each_changed() -> None:
    flow = Flow()
    for n in range(3):
        flow.feed(
            [view(n, n * MINUTE_MS), *([event("cart_add", 9, n * MINUTE_MS)] if n == 1 else [])]
        )
    batches = [[output] for output in flow.visited if output.active]
    items = ItemTraining(flow_settings())
    nothing = [message for n in range(2) for message in items.process_batch(messages(n))]
    (row,) = Batch.from_outputs(batches[1:], nothing).active
    command = arguments(pack_command(row.profile, row.argument_count))
    fields = dict(zip(command[2::2], command[3::2], strict=True))
    assert (fields["carts"], fields["events"], row.is_whole) == ("1", "4", False)
