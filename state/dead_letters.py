"""Dead letters: bad input as data. It leaves by its own way and is counted; it never stops a flow."""

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
    """Where in the event (`$.items[0].price`) and what is wrong with it, in words for a person."""

    path: str
    message: str


class DeadLetter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One rejected record. `raw` is the input as text, or base64 of it where it is not UTF-8; only the
    beginning of it where it was `cut`.

    `at` is the event time of the stream when it was set aside (ms), so that a replay gives the same.
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
    """Somebody was erased: letters that name them are to say nothing."""

    name: str


DeadLetterBatch = list["DeadLetter | Erasure"]


def raw_text(raw: bytes) -> tuple[str, bool]:
    """At most 64 KB of the input, as text if it is UTF-8, else base64, and which of the two.

    >>> raw_text(b"caf\\xc3\\xa9"), raw_text(b"\\xff")
    (('café', False), ('/w==', True))
    """
    head = raw[:RAW_BYTES_MAX]
    try:
        return head.decode(), False
    except UnicodeDecodeError as error:
        if len(head) < len(raw) and error.end == len(head) and error.start > len(head) - 4:
            return head[: error.start].decode(), False  # the cut went through a letter
        return base64.b64encode(head[:BASE64_BYTES_MAX]).decode(), True
