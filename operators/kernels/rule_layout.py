"""Where things stand in the arrays that the kernels of segment rules share.

`program` is one array: its header says where each part of it begins. `rows` has one row a shopper:
words of truths, the columns of the profile and the session that rules compare, when the shopper
entered each segment, when each rule is due, and where its windows lie in `pool`. A window is one
number: where it starts, how many entries it has, and the class of its size, a power of two.

Change freely: nothing of it is stored.
"""

from __future__ import annotations

FOREVER = 1 << 62
"""An answer that holds until an event comes; no timer."""
NOTHING = -(1 << 63)
"""A number that a shopper does not have; the time of entry of one who is not in the segment."""
RECHECK_ALL = -1
"""As the next check of a row: all rules have to be evaluated."""
BLOCK_BITS = 6
"""So many bits of a row number are one block, of which the earliest timer is known."""

# The header of a program.
(
    RULE_COUNT,
    COLUMN_COUNT,
    FIRST_MS_COLUMN,
    LAST_MS_COLUMN,
    SESSIONS_COLUMN,
    SESSION_LAST_COLUMN,
    GAP_MS,
    SHOPPER_WORDS,
    COLUMNS_AT,
    SINCE_AT,
    DUE_AT,
    WINDOWS_AT,
    KINDS_AT,
    RULES_AT,
    CODE_AT,
    SOURCES_AT,
    TRIGGERS_AT,
    THRESHOLDS_AT,
    WANTED_AT,
    SLOTS_PER_EVENT,
    HEADER_SIZE,
) = range(21)

# Forms of windows, and the four numbers of a window kind.
TIMES, KEYED, ITEMS, SUMS = range(4)
KIND_FORM, KIND_ENTRIES_MAX, KIND_WITHIN_MS, KIND_BUCKET_MS, KIND_SIZE = range(5)

# Instructions: eight numbers each, the first two are the operation and 1 where the answer is negated.
INSTRUCTION_SIZE = 8
(
    BEGIN_ALL,
    BEGIN_ANY,
    END,
    ALWAYS,
    TRUTH,
    NUMBER,
    DIFFERENCE,
    QUOTIENT,
    AGE,
    SESSION_NUMBER,
    SESSION_DIFFERENCE,
    SESSION_INTENT,
    AT_LEAST,
    SUM,
    SEQUENCE,
    SEQUENCE_OF_ITEM,
) = range(16)

# Sources: sets of rules that something may change. Types of events come next, then two of each window:
# for the newest event of a shopper, and for an older one.
ALL_RULES, CHANGED_RULES, SESSION_BEGINS, FIRST_EVENT, FIRST_FLAG_SOURCE = range(5)
FLAG_SOURCES = 6
TYPE_SOURCES_AT = FIRST_FLAG_SOURCE + FLAG_SOURCES
BECOMES_YES, BECOMES_NO = 1, 2

# An operation of the log: so many numbers, then the words of texts and the columns.
(
    OPERATION,
    ROW,
    AT_MS,
    CLOCK_MS,
    FLAGS,
    EVENT_TYPE,
    ADDITIONS_END,
    LOG_HEAD,
) = range(8)
EVENT, ADVANCE, EVALUATE_ALL, EVALUATE_CHANGED, REFRESH = range(5)
BEGINS_SESSION = 1
"""The first flag; the others are the flag sources, in their order."""

# A transition.
TRANSITION_ROW, TRANSITION_RULE, TRANSITION_ENTERED, TRANSITION_MS, TRANSITION_SIZE = range(5)

# `heap`: where free space of the pool begins, the first free piece of each class, transitions so far.
SIZE_CLASSES = 12
HEAP_TOP, HEAP_FREE, HEAP_TRANSITIONS = 0, 1, 1 + SIZE_CLASSES
HEAP_SIZE = HEAP_TRANSITIONS + 1

# A window as one number.
LENGTH_SHIFT, LENGTH_MASK, CLASS_MASK, START_SHIFT = 4, 0xFFF, 0xF, 16

SUMS_EXACT, SUMS_MAX = 256, 384
"""Of sums the newest entries are kept one by one; with more than these, older ones by bucket."""
STEP_ENTRIES_MAX = 512
"""Room for the entries of one step of a sequence."""
