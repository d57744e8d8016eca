"""What is the same for all shoppers, kept in the process for seconds: cards, popular lists, item lists.

Cards read from Redis for each request would cost three quarters of the rate. The oldest use is dropped
first when there are too many.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from serving.storefront.answers import Card
from state.replies import decode_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from state.store import ReadCommand


V = TypeVar("V")


class StoredList(msgspec.Struct, gc=False):
    """A list as it lies in Redis; `explore` names the explored item and its propensity."""

    at: int
    items: list[tuple[str, float, str]]
    model: str = ""
    source: str = ""
    explore: dict[str, Any] | None = None


_decode_list = msgspec.json.Decoder(StoredList).decode
EMPTY = StoredList(0, [])


def parse_list(reply: bytes | None) -> StoredList:
    """The list of a reply; an empty one where there is none, or where it cannot be read."""
    try:
        return _decode_list(reply) if reply else EMPTY
    except msgspec.DecodeError:
        return EMPTY


def parse_card(reply: Any) -> Card | None:
    """The card of a reply to HGETALL; None where there is none."""
    if not reply:
        return None
    fields: dict[str, Any] = decode_fields(reply if isinstance(reply, dict) else _pairs(reply))
    price = fields.pop("price", None)
    fields["available"] = fields.get("available", "1") != "0"
    card = msgspec.convert(
        {name: fields[name] for name in Card.__struct_fields__ if name in fields}, Card
    )
    card.price = None if price is None else float(price)
    return card


class Recent(Generic[V]):
    """The newest values by key, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Any, V] = OrderedDict()
        self.get: Callable[[object], V | None] = self._values.get
        """The value of a key. A list asks for dozens, so this is no method of Python."""

    def store(self, key: object, value: V) -> None:
        """Keep a value; the oldest one goes if there are too many."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)


class SharedValues:
    """Values by key, each at most `max_age_s` old. A value that is asked for again stays."""

    def __init__(self, limit: int, max_age_s: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._max_age_s = max_age_s
        self._clock = clock
        self._values: OrderedDict[str, Any] = OrderedDict()
        self._read_s: dict[str, float] = {}
        self.get: Callable[[str], Any] = self._values.get
        """The value of a key, also an old one; None if it was never read, or there is none."""

    def stale(self, wanted: Iterable[str]) -> list[str]:
        """The keys whose values must be read, each once."""
        oldest_s = self._clock() - self._max_age_s
        found: dict[str, None] = {}
        read_s, keep = self._read_s, self._values.move_to_end
        for key in wanted:
            if read_s.get(key, -math.inf) < oldest_s:
                found[key] = None
            else:
                keep(key)
        return list(found)

    def store(self, key: str, reply: Any) -> None:
        """Keep what Redis answered to `command_for(key)`."""
        value = parse_card(reply) if key.endswith(":card") else parse_list(reply)
        self._values[key] = value
        self._read_s[key] = self._clock()
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            oldest, _ = self._values.popitem(last=False)
            del self._read_s[oldest]


def command_for(key: str) -> ReadCommand:
    """The command that reads a shared key.

    >>> command_for("ps:1:item:{a}:card")[0], command_for("ps:1:popular:{all}:24h")[0]
    ('HGETALL', 'GET')
    """
    return ("HGETALL" if key.endswith(":card") else "GET", key)


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
