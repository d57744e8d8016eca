"""What a page shows, as named values and tails of newest entries, and what changed of it.

A snapshot and a change have one form, so that a page has one way to take both:
`{"room":..,"whole":true,"set":{name:value},"gone":[name],"add":{tail:[entry]},"still_ms":..,"trouble":".."}`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_encode = msgspec.json.Encoder().encode


class Reading(NamedTuple):
    """One look: all values there are, and what came to the tails since the last look.

    `anew`: the tails begin anew. `still_ms` is how long ago the flow wrote last; None: not known yet.
    """

    values: Mapping[str, Any]
    added: Mapping[str, Sequence[Any]]
    still_ms: int | None = None
    anew: bool = False


class Document:
    """Remembers what was told. Values are compared as JSON, each written once for all tabs."""

    def __init__(self, room: str, tail_max: int) -> None:
        self._room = _encode(room)
        self._tail_max = tail_max
        self._values: dict[str, bytes] = {}
        self._tails: dict[str, deque[bytes]] = {}
        self._still_ms: int | None = None
        self._trouble = ""

    def take(self, reading: Reading) -> bytes | None:
        """Take over a look; the change, None where there is none. What is `anew` asks for a snapshot."""
        values = {name: _encode(value) for name, value in reading.values.items()}
        changed = {n: v for n, v in values.items() if self._values.get(n) != v}
        gone = [name for name in self._values if name not in values]
        added = {n: [_encode(e) for e in new] for n, new in reading.added.items() if new}
        recovered = self._trouble != ""
        self._values, self._still_ms, self._trouble = values, reading.still_ms, ""
        if reading.anew:
            self._tails.clear()
        for name, entries in added.items():
            tail = self._tails.setdefault(name, deque(maxlen=self._tail_max))
            tail.extend(entries)
        if not (changed or gone or added or recovered):
            return None
        added = {name: entries[-self._tail_max :] for name, entries in added.items()}
        return self._frame(changed, added, gone)

    def fail(self, trouble: str) -> bytes:
        """What was told stands; say why nothing newer comes."""
        self._trouble = trouble
        return self._frame({}, {}, [])

    def still(self) -> bytes:
        """Nothing changed."""
        return self._frame({}, {}, [])

    def whole(self) -> bytes:
        """Everything."""
        return self._frame(self._values, self._tails, [], whole=True)

    def _frame(
        self,
        values: Mapping[str, bytes],
        tails: Mapping[str, Sequence[bytes] | deque[bytes]],
        gone: list[str],
        *,
        whole: bool = False,
    ) -> bytes:
        parts = [b'"room":' + self._room]
        if whole:
            parts.append(b'"whole":true')
        if values:
            parts.append(b'"set":' + _object(values))
        if gone:
            parts.append(b'"gone":' + _encode(gone))
        if tails:
            listed = {name: b"[" + b",".join(tail) + b"]" for name, tail in tails.items()}
            parts.append(b'"add":' + _object(listed))
        parts.append(b'"still_ms":' + _encode(self._still_ms))
        parts.append(b'"trouble":' + _encode(self._trouble))
        return b"{" + b",".join(parts) + b"}"


def _object(encoded: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(_encode(n) + b":" + v for n, v in encoded.items()) + b"}"
