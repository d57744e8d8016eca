"""The kernel that writes lists as JSON: the form in which they are published.

Its plain reference: tests/reference/list_json.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

    Bytes = NDArray[np.uint8]
    Places = NDArray[np.int64]

SCORE_UNITS = 10_000
"""Scores are published in ten-thousandths."""
_SCORE_DIGITS = 4
_UNITS_MAX = 2.0**62
"""Whole numbers of 64 bits hold what is below."""
_ENTRY_BYTES_MAX = 48
"""What an entry takes beside its texts: at most 21 bytes of a score, two words, brackets and quotes."""
_ZERO, _MINUS, _POINT = np.uint8(48), np.uint8(45), np.uint8(46)
_BEFORE_ID, _BEFORE_SCORE, _BEFORE_REASON, _AFTER, _BECAUSE, _BOUGHT = (
    np.frombuffer(text, np.uint8) for text in (b'["', b'",', b',"', b'"],', b"because:", b"bought:")
)


@inlined
def _write(text: Bytes, start: int, end: int, out: Bytes, at: int) -> int:
    """Write a part of a text; returns where it ends."""
    for place in range(start, end):
        out[at] = text[place]
        at += 1
    return at


@inlined
def _units_of(score: np.float32) -> int:
    """A score in ten-thousandths; 0 for one that is no finite number, which JSON cannot show."""
    units = np.rint(score * np.float32(SCORE_UNITS))
    return int(units) if abs(units) < _UNITS_MAX else 0


@inlined
def _write_score(units: int, out: Bytes, at: int) -> int:
    """Write ten-thousandths as Python writes the number: no zero at the end but the one at the point."""
    if units < 0:
        out[at] = _MINUS
        at, units = at + 1, -units
    whole, rest = units // SCORE_UNITS, units % SCORE_UNITS
    digits, power = 1, 10
    while whole >= power:
        digits, power = digits + 1, power * 10
    for place in range(digits - 1, -1, -1):
        out[at + place] = _ZERO + np.uint8(whole % 10)
        whole //= 10
    at += digits
    out[at] = _POINT
    places = _SCORE_DIGITS
    while places > 1 and rest % 10 == 0:
        rest //= 10
        places -= 1
    for place in range(places, 0, -1):
        out[at + place] = _ZERO + np.uint8(rest % 10)
        rest //= 10
    return at + 1 + places


@inlined
def _size_bound(
    item: Rows, reason: Rows, id_start: Places, id_end: Places, word_start: Places
) -> int:
    """At least how many bytes the entries take."""
    size = 0
    for row in range(item.shape[0]):
        for place in range(item.shape[1]):
            one, why = item[row, place], reason[row, place]
            if one >= 0:
                size += id_end[one] - id_start[one] + _ENTRY_BYTES_MAX
                size += (
                    id_end[why] - id_start[why]
                    if why >= 0
                    else word_start[-why] - word_start[-1 - why]
                )
    return size


@kernel(
    "uint8[::1](int32[:, ::1], float32[:, ::1], int32[:, ::1], boolean[:, ::1], uint8[::1],"
    "int64[::1], int64[::1], uint8[::1], int64[::1], int64[::1])"
)
def entries_json(
    item: Rows,
    score: Weights,
    reason: Rows,
    is_bought: NDArray[np.bool_],
    ids: Bytes,
    id_start: Places,
    id_end: Places,
    words: Bytes,
    word_start: Places,
    out_end: Places,
) -> Bytes:
    """Write `["id",score,"reason"]` for each present item of lists [n, k], with commas between.

    A reason from 0 is an item: it was viewed, or bought. Below 0, it is word -1 - reason. `ids` and
    `words` are bytes as in JSON. Returns the bytes of all lists, and writes where each ends.
    """
    out = np.empty(_size_bound(item, reason, id_start, id_end, word_start), np.uint8)
    at = 0
    for row in range(item.shape[0]):
        start = at
        for place in range(item.shape[1]):
            one, why = item[row, place], reason[row, place]
            if one < 0:
                continue
            at = _write(_BEFORE_ID, 0, len(_BEFORE_ID), out, at)
            at = _write(ids, id_start[one], id_end[one], out, at)
            at = _write(_BEFORE_SCORE, 0, len(_BEFORE_SCORE), out, at)
            at = _write_score(_units_of(score[row, place]), out, at)
            at = _write(_BEFORE_REASON, 0, len(_BEFORE_REASON), out, at)
            if why < 0:
                at = _write(words, word_start[-1 - why], word_start[-why], out, at)
            else:
                prefix = _BOUGHT if is_bought[row, place] else _BECAUSE
                at = _write(prefix, 0, len(prefix), out, at)
                at = _write(ids, id_start[why], id_end[why], out, at)
            at = _write(_AFTER, 0, len(_AFTER), out, at)
        out_end[row] = at = at - 1 if at > start else at  # the last comma is none
    return out[:at]
