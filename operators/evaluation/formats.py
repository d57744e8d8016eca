"""Formats of public data sets that only evaluation reads; lines in, clicks out.

`sequences`     one session a line, item ids in order, separated by blanks
`interactions`  CSV with a header: `user_id,item_id,timestamp` (seconds), optional `event_type,rating`
`cases`         one case a line: prefix, a tab, target; the prefix as a session above
Nothing but the current line is held. A line that cannot be read is an error that names it: figures
over a part of such a file would not be comparable with anybody's.
"""

from __future__ import annotations

import csv
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from operators.evaluation.clicks import RawClick
from state.errors import DataError
from state.interactions import CART, PURCHASE, VIEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

CLICK_MS = 1000
"""`sequences` has no times: clicks are taken as one a second, so that what decays has a clock."""

AT_MS_MAX = 10**14
"""The year 5138: what is later was written in ms or µs."""

KINDS = {
    "": VIEW,
    "view": VIEW,
    "item_view": VIEW,
    "click": VIEW,
    "cart": CART,
    "cart_add": CART,
    "addtocart": CART,
    "buy": PURCHASE,
    "purchase": PURCHASE,
    "transaction": PURCHASE,
}
"""What the `event_type` of an `interactions` file may say, in any case of letters."""


class RawCase(NamedTuple):
    """The items of a session so far, and the next one."""

    prefix: tuple[str, ...]
    target: str

    def is_same_session(self, other: RawCase) -> bool:
        """Whether one of two neighbouring cases continues the other."""
        return self.prefix == (*other.prefix, other.target) or other.prefix == (
            *self.prefix,
            self.target,
        )


def sequences(lines: Iterable[bytes]) -> Iterator[RawClick]:
    """Each line is a shopper.

    >>> [(click.shopper, click.item, click.at_ms) for click in sequences([b"mug cup", b"pot"])]
    [('1', 'mug', 0), ('1', 'cup', 1000), ('2', 'pot', 2000)]
    """
    clicks = 0
    for number, line in enumerate(_decode_lines(lines), start=1):
        if "," in line or "\t" in line or "{" in line:
            raise DataError(
                f"line {number} is no session of `sequences`, which is item ids separated by blanks;"
                " give the file's own --format"
            )
        for item in line.split():
            yield RawClick(str(number), item, clicks * CLICK_MS)
            clicks += 1


def interactions(lines: Iterable[bytes]) -> Iterator[RawClick]:
    """Columns in any order, others ignored; a rating is the weight of its click.

    >>> list(interactions([b"user_id,item_id,timestamp", b"ann,mug,1.5"]))
    [RawClick(shopper='ann', item='mug', at_ms=1500, kind=0, weight=1.0, about=None)]
    """
    rows = csv.DictReader(_decode_lines(lines))
    try:
        missing = {"user_id", "item_id", "timestamp"} - set(rows.fieldnames or ())
        if missing:
            raise DataError(
                f"the first line lacks {', '.join(sorted(missing))}: `interactions` begins with"
                " a header like user_id,item_id,timestamp; add it, or give the file's own --format"
            )
        yield from map(_read_interaction, rows)
    except (csv.Error, OverflowError, TypeError, ValueError) as error:
        # The csv module counts a line when it has parsed it.
        number = rows.line_num + isinstance(error, csv.Error)
        raise DataError(
            f"line {number} cannot be read ({error}): correct it or take it out"
        ) from None


def _read_interaction(row: Mapping[str, str]) -> RawClick:
    shopper, item = row["user_id"], row["item_id"]
    if not shopper or not item:
        raise ValueError("an id is empty")
    kind = KINDS.get((row.get("event_type") or "").lower())
    if kind is None:
        raise ValueError(f"event_type {row['event_type']} is not known")
    at_ms = round(float(row["timestamp"]) * 1000)
    if abs(at_ms) > AT_MS_MAX:
        raise ValueError(f"timestamp {row['timestamp']} is not in seconds")
    weight = float(row.get("rating") or 1)
    if not 0 <= weight < inf:
        raise ValueError(f"rating {row['rating']} is not a number from 0 up")
    return RawClick(shopper, item, at_ms, kind, weight)


def cases(lines: Iterable[bytes]) -> Iterator[RawCase]:
    """Cases of a prefix and a target.

    >>> list(cases([b"mug cup\\tpot"]))
    [RawCase(prefix=('mug', 'cup'), target='pot')]
    """
    for number, line in enumerate(_decode_lines(lines), start=1):
        if not line.strip():
            continue
        prefix, tab, target = line.partition("\t")
        if not tab or len(target.split()) != 1:
            raise DataError(
                f"line {number} is no case: write item ids, a tab, and the item that came next"
            )
        yield RawCase(tuple(prefix.split()), target.strip())


def _decode_lines(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise DataError(f"line {number} is not UTF-8 text: convert the file") from None


FORMATS: Mapping[str, Callable[[Iterable[bytes]], Iterator[RawClick]]] = {
    "sequences": sequences,
    "interactions": interactions,
}
"""The formats that only evaluation reads; the shops' own are in `operators.readers`."""
