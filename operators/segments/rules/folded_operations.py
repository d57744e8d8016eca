"""The events of a batch that were folded (`operators.kernels.fold`), as operations of the rule log.

The fold writes of each shopper what rules compare, after each of its events (`fold_columns`). What needs
Python is done here for all events at once: the newest texts of shoppers, and truths, which are the same
for most of them. The log takes the operations piece by piece, between those of other shoppers.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import numpy as np

from operators.kernels import rule_layout as layout
from operators.kernels import shopper_columns as c
from operators.segments.rules.event_log import ADDITION_SIZE, TYPE_NUMBERS
from operators.segments.rules.rule_rows import packed_truths
from state.events import EventType
from state.shopper import Shopper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.kernels.shopper_columns import Cells
    from operators.segments.rules.event_log import EventLog
    from operators.segments.rules.latest_texts import LatestTexts
    from operators.segments.rules.program import RuleProgram
    from operators.segments.rules.rule_rows import RuleRows
    from state.events import Event
    from state.shopper import LatestContext

_LOG_TYPES = np.array([TYPE_NUMBERS[name] for name in get_args(EventType)], np.int64)
"""The numbers of event types in the log, by those in the columns of events."""


class CountedEvents(NamedTuple):
    """Events that the fold has counted, in order; all fields by event.

    `additions` are the windows they go into (`EventDispatch.additions_of`), `cells` their columns,
    `after` what the fold wrote of their shoppers. `text_of` are the texts of the codes in it. `rare` is
    what a shopper has beside its columns, of those who have any.
    """

    events: Sequence[Event]
    names: Sequence[str]
    additions: Sequence[Sequence[int]]
    cells: Cells
    clocks_ms: Cells
    begins_session: Cells
    after: Cells
    text_of: Sequence[str]
    rare: Mapping[str, Shopper]


class FoldedOperations:
    """The operations of folded events; `numbers` are those of the events in the whole fold."""

    def __init__(
        self,
        program: RuleProgram,
        rows: RuleRows,
        latest_texts: LatestTexts,
        counted: CountedEvents,
        numbers: Sequence[int],
    ) -> None:
        cells = counted.cells
        row_numbers = [*map(rows.row_of.__getitem__, counted.names)]
        log = np.empty((len(cells), layout.LOG_HEAD + program.numbers_logged), np.int64)
        log[:, layout.OPERATION] = layout.EVENT
        log[:, layout.ROW] = row_numbers
        log[:, layout.AT_MS] = cells[:, c.AT_MS]
        log[:, layout.CLOCK_MS] = counted.clocks_ms
        log[:, layout.FLAGS] = layout.BEGINS_SESSION * counted.begins_session
        log[:, layout.EVENT_TYPE] = _LOG_TYPES[cells[:, c.TYPE]]
        texts: Sequence[tuple[str, ...]] = ()
        if latest_texts:
            latest = [cast("LatestContext", rows.latest[row]) for row in row_numbers]
            flags, texts = latest_texts.update_all(latest, counted.events)
            log[:, layout.FLAGS] |= flags
        columns_at = layout.LOG_HEAD + program.words
        if program.truths:
            log[:, layout.LOG_HEAD : columns_at] = truth_words(program, counted, texts)
        log[:, columns_at:] = counted.after[:, : len(program.columns)]
        self._log = log
        self._additions = counted.additions
        self._ends = np.cumsum([*map(len, counted.additions)]) // ADDITION_SIZE
        self._numbers = numbers
        self._next = 0

    def append_until(self, log: EventLog, number: int) -> None:
        """Append the operations of events before a number."""
        begin, end = self._next, bisect_left(self._numbers, number, self._next)
        if end > begin:
            first = self._ends[begin - 1] if begin else 0
            block = self._log[begin:end]
            block[:, layout.ADDITIONS_END] = self._ends[begin:end] - first
            log.add_block(block, chain.from_iterable(self._additions[begin:end]))
            self._next = end


def truth_words(
    program: RuleProgram, counted: CountedEvents, latest: Sequence[tuple[str, ...]]
) -> NDArray[np.int64]:
    """The words of truths after each event: worked out once for all for whom they ask the same."""
    after, rare = counted.after, counted.rare
    columns = [
        after[:, len(program.columns) + place].tolist()
        for place in range(len(program.truth_columns))
    ]
    who = [name if name in rare else None for name in counted.names] if rare else [None]
    if not (rare or columns or latest):
        return np.array(_words_of(program, counted, (None,), ()), np.int64)
    if not rare:
        who *= len(counted.cells)
    known: dict[tuple[object, ...], list[int]] = {}
    words = []
    for key in zip(who, *columns, *([latest] if latest else ()), strict=True):
        of_key = known.get(key)
        if of_key is None:
            own_latest = key[-1] if latest else ()
            of_key = known[key] = _words_of(program, counted, key, own_latest)
        words.append(of_key)
    return np.array(words, np.int64)


def _words_of(
    program: RuleProgram,
    counted: CountedEvents,
    key: tuple[Any, ...],
    latest_texts: tuple[str, ...],
) -> list[int]:
    """The words of a shopper: of whom it is, if it has rare fields, and of the columns for truths."""
    name, *numbers = key
    shopper = Shopper(False, 0, 0) if name is None else counted.rare[name]
    for column, number in zip(program.truth_columns, numbers, strict=False):
        if column == c.KNOWN:
            shopper.known = bool(number)
        elif column == c.CURRENCY:
            shopper.currency = counted.text_of[number]
        else:
            shopper.affinity = {counted.text_of[number]: 1.0} if number else {}
    latest = {
        feature: (0, text)
        for feature, text in zip(program.latest_features, latest_texts, strict=True)
    }
    return packed_truths([truth(shopper, latest) for truth in program.truths])
