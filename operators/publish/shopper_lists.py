"""The list of each shopper who did something, written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.events.processing_errors import ENDS_THE_RUN
from operators.publish.aggregates import MODEL
from operators.recommend.online_evaluation import LIST_TTL_S
from state import keys
from state.resp import bulk, command, number
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.personalize.state import Learned
    from state.messages import Active, Write

MADE_UP_MOST = 256
"""Empty lists that are tried again with a batch that tells of new items, 50 us each."""
TRIES_MOST = 100
"""So often lists of a batch are made anew where that raises: five that are to blame are found."""
_SET = bulk("SET")
_LIST_TTL = bulk("EX") + number(LIST_TTL_S)


def write(learned: Learned, active: Sequence[Active], writes: list[Write]) -> int:
    """A list for whoever was active, unless they said no to that; how many were written."""
    listed = [name for name, _, no, *_ in active if not no & PERSONALIZATION]
    if refused := [name for name, _, no, *_ in active if no & PERSONALIZATION]:
        learned.recommender.written.forget(learned.recommender.shoppers.take(refused))
        writes += [("DEL", keys.top_key(name, keys.SLOT)) for name in refused]
    new = of(learned, listed)
    writes += new
    return sum(isinstance(one, bytes) for one in new)


def made_up(learned: Learned) -> list[Write]:
    """Lists that had to stay empty, now that there are new items; those written last, some a batch."""
    recommender = learned.recommender
    rows = recommender.written.empty(learned.now_ms, MADE_UP_MOST)
    return of(learned, [recommender.shoppers.ids[row] for row in rows.tolist()])


def of(learned: Learned, names: Sequence[str]) -> list[Write]:
    """The lists of some shoppers as they are now; one that holds nothing is taken back.

    Where making them raises, they are made by halves: all but those that are to blame are written.
    """
    tries = TRIES_MOST
    waiting, made = [list(names)] if names else [], []
    while waiting:
        some = waiting.pop()
        try:
            made += _made(learned, some)
        except ENDS_THE_RUN:
            raise
        except Exception:
            tries -= 1
            if len(some) > 1 and tries > 0:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
            else:
                learned.faults.note("lists", some[0])
    return made


def _made(learned: Learned, names: Sequence[str]) -> list[Write]:
    ranked = learned.recommender.serve(names, learned.now_ms)
    return [
        command(f"{_SET}{bulk(keys.top_key(name, keys.SLOT))}{bulk(text)}{_LIST_TTL}", 5)
        if text
        else ("DEL", keys.top_key(name, keys.SLOT))
        for name, text in zip(names, ranked.json(learned.now_ms, MODEL), strict=True)
    ]
