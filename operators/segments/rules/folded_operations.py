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

    from operators.events.processing_errors import ProcessingErrors
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
    """The operations of folded events; `numbers` are those of the events in the whole fold.

    Events with which a truth raises have none; `failed_names` are their shoppers.
    """

    def __init__(
        self,
        program: RuleProgram,
        rows: RuleRows,
        latest_texts: LatestTexts,
        counted: CountedEvents,
        numbers: Sequence[int],
        errors: ProcessingErrors,
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
        words = truth_words(program, counted, texts, errors) if program.truths else []
        log[:, columns_at:] = counted.after[:, : len(program.columns)]
        self.failed_names = [
            name for name, word in zip(counted.names, words, strict=False) if word is None
        ]
        additions = counted.additions
        if self.failed_names:
            kept = [place for place, word in enumerate(words) if word is not None]
            log, numbers = log[kept], [numbers[place] for place in kept]
            additions = [additions[place] for place in kept]
        if len(log) and program.truths:
            log[:, layout.LOG_HEAD : columns_at] = [word for word in words if word is not None]
        self._log = log
        self._additions = additions
        self._ends = np.cumsum([*map(len, additions)], dtype=np.int64) // ADDITION_SIZE
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
    program: RuleProgram,
    counted: CountedEvents,
    latest: Sequence[tuple[str, ...]],
    errors: ProcessingErrors,
) -> list[list[int] | None]:
    """The words of truths after each event: worked out once for all for whom they ask the same.

    None for events with which one of them raises.
    """
    after, rare = counted.after, counted.rare
    columns = [
        after[:, len(program.columns) + place].tolist()
        for place in range(len(program.truth_columns))
    ]
    who = [name if name in rare else None for name in counted.names] if rare else [None]
    if not (rare or columns or latest):
        words = errors.call_or_default("settle", None, _words_of, program, counted, (None,), ())
        return [words] * len(counted.cells)
    if not rare:
        who *= len(counted.cells)
    keys = [*zip(who, *columns, *([latest] if latest else ()), strict=True)]
    known = {
        key: errors.call_or_default(
            "settle", None, _words_of, program, counted, key, key[-1] if latest else ()
        )
        for key in dict.fromkeys(keys)
    }
    return [known[key] for key in keys]


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
