"""All rules of a file as one array of numbers, which the kernels of `operators.kernels.rule_log` run.

Each condition writes its own instructions (`Condition.emit`). What no column says is a truth, one bit:
texts are compared in Python whenever a shopper's columns are read; who is held out is decided once for
each shopper.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels import rule_layout as layout
from operators.kernels import shopper_columns as c
from operators.kernels.rule_conditions import GROUP_SIZE, GROUPS_AT, TRUTH_BITS
from operators.segments.rules.columns import (
    OPEN_SESSIONS,
    column_reader,
    columns_needed,
    fold_column,
)
from operators.segments.rules.event_log import TYPE_NUMBERS
from operators.segments.rules.features import FIRST_EVENT, LATEST_TEXTS, SESSION_START
from operators.segments.rules.instructions import InstructionWriter
from operators.segments.rules.windows import BUCKETS, SUMS_EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from operators.segments.rules.compiler import RuleSet
    from operators.segments.rules.windows_needed import WindowKind

_FORMS = {
    "times": layout.TIMES,
    "keyed": layout.KEYED,
    "items": layout.ITEMS,
    "sums": layout.SUMS,
}
assert SUMS_EXACT == layout.SUMS_EXACT
_TRUTH_COLUMNS = {"known": c.KNOWN, "currency": c.CURRENCY, "top_category": c.TOP_CATEGORY}
"""Columns that texts of a shopper are made of, beside its rare fields and its newest texts."""


class RuleProgram:
    """The rules of a set, compiled; `changed_bits` are those that are new or changed.

    All shards share the program of a set: `compiled`.
    """

    def __init__(self, rules: RuleSet, changed_bits: int = 0) -> None:
        features = {name for rule in rules.rules for name, _ in rule.when.features_used()}
        self.columns = columns_needed(features)
        self.read_columns = column_reader(self.columns)
        self.latest_features = [name for name in LATEST_TEXTS if name in rules.latest_text_bits]
        self.truth_columns = [_TRUTH_COLUMNS[name] for name in _TRUTH_COLUMNS if name in features]
        """The numbers in what the fold writes of a shopper that truths are made of."""
        columns = [*map(fold_column, self.columns), *self.truth_columns]
        self.fold_columns = np.array(columns, np.int64)
        kinds = {key: number for number, key in enumerate(rules.window_kinds)}
        writer = InstructionWriter(self.columns, kinds, rules.gap_ms)
        starts = []
        for rule in rules.rules:
            starts.append(len(writer.code) // layout.INSTRUCTION_SIZE)
            rule.when.emit(writer, is_negated=False)
        self.shopper_truths = [truth for _, truth in writer.shopper_truths.values()]
        self.truths = [truth for _, truth in writer.truths.values()]
        self.shopper_words = _words(self.shopper_truths)
        self.words = _words(self.truths)
        self.columns_at = self.shopper_words + self.words
        self.since_at = self.columns_at + len(self.columns)
        self.due_at = self.since_at + len(starts)
        self.windows_at = self.due_at + len(starts)
        self.row_size = self.windows_at + len(kinds)
        self.numbers_logged = self.words + len(self.columns)
        self.scratch_size = GROUPS_AT + GROUP_SIZE * writer.depth_max + len(starts)
        self.ids = [rule.id for rule in rules.compiled_rules]
        self.digests = [rule.digest for rule in rules.compiled_rules]
        self.window_kinds = tuple(rules.window_kinds.values())
        self.slots_per_event = sum(map(_slots_max, rules.window_kinds.values()))
        self.numbers = self._assemble(rules, changed_bits, writer, starts)

    def _assemble(
        self, rules: RuleSet, changed_bits: int, writer: InstructionWriter, starts: list[int]
    ) -> NDArray[np.int64]:
        """Put all parts into one array; the header says where each begins."""
        header = dict.fromkeys(range(layout.HEADER_SIZE), 0)
        header[layout.RULE_COUNT] = len(starts)
        header[layout.COLUMN_COUNT] = len(self.columns)
        header[layout.FIRST_MS_COLUMN] = self.columns.index("first_ms")
        header[layout.LAST_MS_COLUMN] = self.columns.index("last_ms")
        if OPEN_SESSIONS in self.columns:
            header[layout.SESSIONS_COLUMN] = self.columns.index(OPEN_SESSIONS)
            header[layout.SESSION_LAST_COLUMN] = self.columns.index("session last_ms")
        header[layout.GAP_MS] = rules.gap_ms
        header[layout.SHOPPER_WORDS] = self.shopper_words
        header[layout.COLUMNS_AT], header[layout.SINCE_AT] = self.columns_at, self.since_at
        header[layout.DUE_AT], header[layout.WINDOWS_AT] = self.due_at, self.windows_at
        header[layout.WANTED_AT] = self.scratch_size - len(starts)
        header[layout.SLOTS_PER_EVENT] = self.slots_per_event
        numbers = [0] * layout.HEADER_SIZE
        for part, content in (
            (layout.KINDS_AT, _kind_numbers(rules)),
            (layout.RULES_AT, starts),
            (layout.CODE_AT, writer.code),
        ):
            header[part] = len(numbers)
            numbers += content
        sequences_at = len(numbers)
        numbers += writer.sequences
        for at in range(header[layout.CODE_AT], sequences_at, layout.INSTRUCTION_SIZE):
            if numbers[at] in (layout.SEQUENCE, layout.SEQUENCE_OF_ITEM):
                numbers[at + 2] += sequences_at
            if numbers[at] == layout.TRUTH and not numbers[at + 3]:
                numbers[at + 2] += self.shopper_words * TRUTH_BITS
        index, triggers = _indexed(_source_triggers(rules, changed_bits))
        header[layout.SOURCES_AT], header[layout.TRIGGERS_AT] = (
            len(numbers),
            len(numbers) + len(index),
        )
        numbers += [*index, *triggers]
        header[layout.THRESHOLDS_AT] = len(numbers)
        thresholds = [self._thresholds(rules, name) for name in TYPE_NUMBERS]
        index, content = _indexed(thresholds, entry_size=1)
        begin = len(numbers) + len(index)
        numbers += [*(begin + end for end in index), *content]
        numbers[: layout.HEADER_SIZE] = header.values()
        return np.array(numbers, np.int64)

    def _thresholds(self, rules: RuleSet, event_type: str) -> list[int]:
        """Column, number, rule and what it may become, of each count that an event adds to."""
        found: list[int] = []
        for column, number, bits in rules.thresholds(event_type):
            for rule, change in _triggers(rules, bits):
                found += [self.columns.index(column), number, rule, change]
        return found


@lru_cache(4)
def compiled(rules: RuleSet, changed_bits: int) -> RuleProgram:
    """The program of a set of rules, made once for all shards."""
    return RuleProgram(rules, changed_bits)


def _words(truths: Sequence[object]) -> int:
    return -(-len(truths) // TRUTH_BITS)


def _kind_numbers(rules: RuleSet) -> list[int]:
    numbers: list[int] = []
    for kind in rules.window_kinds.values():
        within_ms = kind.within_ms or -1
        bucket_ms = -(-within_ms // BUCKETS) if within_ms > 0 else 0
        numbers += [_FORMS[kind.form], kind.entries_max, within_ms, bucket_ms]
    return numbers


def _slots_max(kind: WindowKind) -> int:
    """Room in the pool for a window that grows as far as it can in one event, piece by piece."""
    entries_max = layout.SUMS_MAX + 1 if kind.form == "sums" else kind.entries_max
    slots = entries_max * (1 if kind.form == "times" else 2)
    return 4 * slots


def _triggers(rules: RuleSet, bits: int) -> Iterable[tuple[int, int]]:
    """The rules of a set with what each may become."""
    to_no = bits >> len(rules.rules)
    for rule in range(len(rules.rules)):
        change = layout.BECOMES_YES * (bits >> rule & 1) + layout.BECOMES_NO * (to_no >> rule & 1)
        if change:
            yield rule, change


def _source_triggers(rules: RuleSet, changed_bits: int) -> list[list[int]]:
    """Rules and what they may become, for each source in the order of `rule_layout`."""
    bits = [
        rules.all_bits,
        changed_bits,
        rules.bits_by_event[SESSION_START],
        rules.bits_by_event[FIRST_EVENT],
        rules.consent_bits,
        *(rules.latest_text_bits.get(name, 0) for name in LATEST_TEXTS),
        *(rules.bits_by_event[name] for name in TYPE_NUMBERS),
    ]
    for key in rules.window_kinds:
        bits += rules.window_bits(key)
    return [
        [number for pair in _triggers(rules, of_source) for number in pair] for of_source in bits
    ]


def _indexed(lists: list[list[int]], *, entry_size: int = 2) -> tuple[list[int], list[int]]:
    """Where each list begins in all of them, and where the last ends; and all of them."""
    index, content = [0], list[int]()
    for numbers in lists:
        content += numbers
        index.append(len(content) // entry_size)
    return index, content
