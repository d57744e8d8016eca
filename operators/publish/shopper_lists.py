"""The list of each shopper who did something, written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.events.processing_errors import FATAL_ERRORS
from operators.publish.aggregates import LIST_MODEL_VERSION
from operators.recommend.online_evaluation import LIST_TTL_S
from state import keys
from state.resp import pack_command, pack_int, pack_str
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.personalize.state import PersonalizationState
    from state.messages import ActiveShopper, Write

EMPTY_LISTS_MAX = 256
"""Empty lists that are tried again with a batch that tells of new items, 50 us each."""
ATTEMPTS_MAX = 100
"""So often lists of a batch are made anew where that raises: five that are to blame are found."""
_SET = pack_str("SET")
_LIST_TTL = pack_str("EX") + pack_int(LIST_TTL_S)


def write_lists(
    learned: PersonalizationState, active: Sequence[ActiveShopper], writes: list[Write]
) -> int:
    """A list for whoever was active, unless they said no to that; how many were written."""
    listed = [row.shopper for row in active if not row.refused & PERSONALIZATION]
    if refused := [row.shopper for row in active if row.refused & PERSONALIZATION]:
        learned.recommender.components.published_index.remove_rows(
            learned.recommender.shoppers.get_or_add_many(refused)
        )
        writes += [("DEL", keys.top_key(name, keys.SLOT)) for name in refused]
    new = list_writes(learned, listed)
    writes += new
    return sum(isinstance(one, bytes) for one in new)


def fill_empty_lists(learned: PersonalizationState) -> list[Write]:
    """Lists that had to stay empty, now that there are new items; those written last, some a batch."""
    recommender = learned.recommender
    rows = recommender.components.published_index.rows_with_empty_list(
        learned.newest_event_ms, EMPTY_LISTS_MAX
    )
    return list_writes(learned, [recommender.shoppers.ids[row] for row in rows.tolist()])


def list_writes(learned: PersonalizationState, names: Sequence[str]) -> list[Write]:
    """The lists of some shoppers as they are now; one that holds nothing is taken back.

    Where making them raises, they are made by halves: all but those that are to blame are written.
    """
    attempts_left = ATTEMPTS_MAX
    remaining, writes = [list(names)] if names else [], []
    while remaining:
        chunk = remaining.pop()
        try:
            writes += _render_lists(learned, chunk)
        except FATAL_ERRORS:
            raise
        except Exception:
            attempts_left -= 1
            if len(chunk) > 1 and attempts_left > 0:
                middle = len(chunk) // 2
                remaining += [chunk[middle:], chunk[:middle]]
            else:
                learned.errors.record("lists", chunk[0])
    return writes


def _render_lists(learned: PersonalizationState, names: Sequence[str]) -> list[Write]:
    ranked = learned.recommender.recommend(names, learned.newest_event_ms)
    return [
        pack_command(
            f"{_SET}{pack_str(keys.top_key(name, keys.SLOT))}{pack_str(text)}{_LIST_TTL}", 5
        )
        if text
        else ("DEL", keys.top_key(name, keys.SLOT))
        for name, text in zip(
            names, ranked.json(learned.newest_event_ms, LIST_MODEL_VERSION), strict=True
        )
    ]
