"""Dead letters: rejected records as data, with their own sink. They never stop a flow.

`DeadLetter` is public JSON (a line of the dead letter file, a record of the topic): its fields stay.
"""

from __future__ import annotations

import base64
from typing import Literal, get_args

import msgspec

FailureType = Literal[
    "not_json",
    "too_large",
    "schema_violation",
    "unknown_type",
    "no_identity",
    "blocked_id",
    "bad_timestamp",
    "bad_money",
    "empty_order_id",
    "processing_error",
]
FAILURE_TYPES: tuple[str, ...] = get_args(FailureType)
RAW_BYTES_MAX = 64 * 1024
BASE64_BYTES_MAX = RAW_BYTES_MAX * 3 // 4


class FieldError(msgspec.Struct, frozen=True, gc=False):
    """An error in a field of an event: its path (`$.items[0].price`), and a message for a person."""

    path: str
    message: str


class DeadLetter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One rejected record. `raw` is the input as text, or as base64 if it is not UTF-8; only its
    beginning if it was `cut`.

    `at` is the event time of the stream when the record was rejected (ms), so that a replay gives
    the same.
    """

    failure_type: FailureType
    errors: tuple[FieldError, ...]
    source: str
    partition: str
    offset: int
    raw: str
    base64: bool = False
    at: int = 0
    cut: bool = False


class Erasure(msgspec.Struct, frozen=True, gc=False):
    """A shopper was erased: their id must disappear from earlier dead letters."""

    name: str


DeadLetterBatch = list["DeadLetter | Erasure"]


def raw_text(raw: bytes) -> tuple[str, bool]:
    """At most 64 KB of the input as text or base64, and whether it is base64 (not UTF-8).

    >>> raw_text(b"caf\\xc3\\xa9"), raw_text(b"\\xff")
    (('café', False), ('/w==', True))
    """
    head = raw[:RAW_BYTES_MAX]
    try:
        return head.decode(), False
    except UnicodeDecodeError as error:
        if len(head) < len(raw) and error.end == len(head) and error.start > len(head) - 4:
            return head[: error.start].decode(), False  # the cut went through a character
        return base64.b64encode(head[:BASE64_BYTES_MAX]).decode(), True
