"""What is the same for all shoppers, kept in the process for seconds: cards, popular lists, item lists.

Cards read from Redis for each request would cost three quarters of the rate. The oldest use is dropped
first when there are too many.
"""

from __future__ import annotations

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

    def get(self, key: object) -> V | None:
        """The value of a key."""
        return self._values.get(key)

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
        self._values: OrderedDict[str, tuple[float, Any]] = OrderedDict()

    def get(self, key: str) -> Any:
        """The value of a key, also an old one; None if it was never read."""
        found = self._values.get(key)
        return None if found is None else found[1]

    def stale(self, wanted: Iterable[str]) -> list[str]:
        """The keys whose values must be read, each once."""
        oldest_s = self._clock() - self._max_age_s
        found: dict[str, None] = {}
        for key in wanted:
            entry = self._values.get(key)
            if entry is None or entry[0] < oldest_s:
                found[key] = None
            else:
                self._values.move_to_end(key)
        return list(found)

    def store(self, key: str, reply: Any) -> None:
        """Keep what Redis answered to `command_for(key)`."""
        value = parse_card(reply) if key.endswith(":card") else parse_list(reply)
        self._values[key] = self._clock(), value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)


def command_for(key: str) -> ReadCommand:
    """The command that reads a shared key.

    >>> command_for("ps:1:item:{a}:card")[0], command_for("ps:1:popular:{all}:24h")[0]
    ('HGETALL', 'GET')
    """
    return ("HGETALL" if key.endswith(":card") else "GET", key)


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
