"""The content of a page as named values and tails of entries, and its changes.

A snapshot and a change have the same form, so that the page handles both in one way:
`{"room":..,"whole":true,"set":{name:value},"gone":[name],"add":{tail:[entry]},"still_ms":..,"trouble":".."}`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_encode = msgspec.json.Encoder().encode


class ViewResult(NamedTuple):
    """The result of one read: all values, and the new entries of the tails since the last read.

    `is_reset`: the tails start again. `idle_ms` is the time since the last write of the flow; None: not
    known yet.
    """

    values: Mapping[str, Any]
    added: Mapping[str, Sequence[Any]]
    idle_ms: int | None = None
    is_reset: bool = False


class Document:
    """The last content of a channel.

    Values are compared as JSON, which is encoded once for all tabs.
    """

    def __init__(self, channel: str, tail_max: int) -> None:
        self._channel = _encode(channel)
        self._tail_max = tail_max
        self._values: dict[str, bytes] = {}
        self._tails: dict[str, deque[bytes]] = {}
        self._idle_ms: int | None = None
        self._error = ""

    def update(self, result: ViewResult) -> bytes | None:
        """Store a result and return the change, None if there is none.

        After a reset send a snapshot.
        """
        values = {name: _encode(value) for name, value in result.values.items()}
        changed = {n: v for n, v in values.items() if self._values.get(n) != v}
        removed = [name for name in self._values if name not in values]
        added = {n: [_encode(e) for e in new] for n, new in result.added.items() if new}
        has_recovered = self._error != ""
        self._values, self._idle_ms, self._error = values, result.idle_ms, ""
        if result.is_reset:
            self._tails.clear()
        for name, entries in added.items():
            tail = self._tails.setdefault(name, deque(maxlen=self._tail_max))
            tail.extend(entries)
        if not (changed or removed or added or has_recovered):
            return None
        added = {name: entries[-self._tail_max :] for name, entries in added.items()}
        return self._frame(changed, added, removed)

    def set_error(self, error: str) -> bytes:
        """Keep the content and return a message with the reason why it is not updated."""
        self._error = error
        return self._frame({}, {}, [])

    def keepalive(self) -> bytes:
        """Return a message that says that nothing changed."""
        return self._frame({}, {}, [])

    def snapshot(self) -> bytes:
        """Return a message with the whole content."""
        return self._frame(self._values, self._tails, [], is_snapshot=True)

    def _frame(
        self,
        values: Mapping[str, bytes],
        tails: Mapping[str, Sequence[bytes] | deque[bytes]],
        removed: list[str],
        *,
        is_snapshot: bool = False,
    ) -> bytes:
        parts = [b'"room":' + self._channel]
        if is_snapshot:
            parts.append(b'"whole":true')
        if values:
            parts.append(b'"set":' + _object(values))
        if removed:
            parts.append(b'"gone":' + _encode(removed))
        if tails:
            encoded_tails = {name: b"[" + b",".join(tail) + b"]" for name, tail in tails.items()}
            parts.append(b'"add":' + _object(encoded_tails))
        parts.append(b'"still_ms":' + _encode(self._idle_ms))
        parts.append(b'"trouble":' + _encode(self._error))
        return b"{" + b",".join(parts) + b"}"


def _object(encoded: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(_encode(n) + b":" + v for n, v in encoded.items()) + b"}"
