"""Reads the body of a request: one event, an array or lines of JSON, in Penstock's form or another's.

The readers are those of the flow, so that an event means the same however it comes in. One bad event
costs no other.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.decode import RecordPosition
from operators.readers.registry import RECORD_READERS
from serving.http.errors import RequestError
from state.dead_letters import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.events import Event
    from state.limits import Limits

    Events = list[Event | DeadLetter]

EVENTS_MAX = 1000
"""Events in one body. A page sends a few, a server of the shop a few hundred."""
_SOURCE = "collector"
_ID_FIELDS = {
    "penstock": ("anonymous_id", "user_id"),
    "segment": ("anonymousId", "userId"),
    "ga4": ("client_id", "user_id"),
}
"""Where a form has the ids of the device and of the user."""
FORMS = tuple(_ID_FIELDS)
_NOBODY = "asked for consent"

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class PageVisitor:
    """Whose the events are that name nobody: found out, or given a new name, when there is one."""

    def __init__(self, find_known: Callable[[], str], make_name: Callable[[], str]) -> None:
        self._find_known = find_known
        self._make_name = make_name
        self.new_name = ""
        """The id that was made here, "" if none was."""

    @cached_property
    def known_name(self) -> str:
        """The id in the visitor's cookie, "" without one."""
        return self._find_known()

    @property
    def name(self) -> str:
        """The id of the visitor."""
        if not self.known_name and not self.new_name:
            self.new_name = self._make_name()
        return self.known_name or self.new_name


def read_body(
    body: bytes, form: str, *, visitor: PageVisitor | None, now_ms: int, limits: Limits
) -> list[Event | DeadLetter]:
    """The events of a body in their order, a dead letter for each that cannot be used.

    An event without any id is one of `visitor`, if there is one. Raises RequestError where the body as
    a whole cannot be read, or has too many events.
    """
    if form not in FORMS:
        raise RequestError(400, "$.format", f"expected one of {', '.join(FORMS)}")
    records = split_records(body)
    if not records:
        raise RequestError(400, "$", "no events")
    results: list[Event | DeadLetter] = []
    read = partial(RECORD_READERS[form], now_ms=now_ms, received_ms=now_ms, limits=limits)
    for index, record in enumerate(records):
        position = RecordPosition(_SOURCE, form, index)
        found = read(record, position)
        if visitor is not None and any(isinstance(one, DeadLetter) for one in found):
            found = (
                _read_with_visitor(record, form, visitor, partial(read, position=position)) or found
            )
        results += found
        if len(results) > EVENTS_MAX:
            raise RequestError(413, "$", f"more than {EVENTS_MAX} events: send them in parts")
    return results


def split_records(body: bytes) -> list[bytes]:
    r"""The records of a body: the elements of an array, else the lines, else all of it.

    >>> split_records(b'[{"a":1}, 2]'), split_records(b'{"a":\n1}'), split_records(b"1\n\n2\n")
    ([b'{"a":1}', b'2'], [b'{"a":\n1}'], [b'1', b'2'])
    """
    body = body.strip()
    if not body:
        return []
    if body.startswith(b"["):
        try:
            return [bytes(record) for record in _decode_array(body)]
        except (msgspec.DecodeError, RecursionError) as error:
            raise RequestError(400, "$", f"not JSON: {error}") from None
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) == 1 or not all(line.lstrip()[:1] == b"{" for line in lines[1:]):
        # One object on several lines, or lines of which some are none.
        return [body] if _is_json(body) else lines
    return lines


def _read_with_visitor(
    record: bytes, form: str, visitor: PageVisitor, read: Callable[[bytes], Events]
) -> Events | None:
    """The events of a record whose calls without an id get the visitor's; None where none needs one.

    Who refuses to be recognised gets no id. The reader of the form says who does: it is asked with a
    name that nobody gets.
    """
    try:
        fields = msgspec.json.decode(record)
    except (msgspec.DecodeError, RecursionError):
        return None
    nameless = _nameless_calls(fields, form)
    if not visitor.known_name and nameless:
        tried = read(_named(fields, form, nameless, _NOBODY))
        refusing = {number for number, one in enumerate(tried) if _refuses_to_be_known(one)}
        if len(tried) == len(_calls(fields, form)):
            nameless -= refusing
        elif refusing:
            return None
    return read(_named(fields, form, nameless, visitor.name)) if nameless else None


def _calls(fields: Any, form: str) -> list[Any]:
    """The calls of a record: those in a batch of Segment's, else the record itself."""
    batch = fields.get("batch") if form == "segment" and isinstance(fields, dict) else None
    return batch if isinstance(batch, list) else [fields]


def _nameless_calls(fields: Any, form: str) -> set[int]:
    """The numbers of the calls that have no id, neither their own nor that of their batch."""
    names = _ID_FIELDS[form]
    if not isinstance(fields, dict) or any(map(fields.get, names)):
        return set()
    calls = enumerate(_calls(fields, form))
    return {n for n, one in calls if isinstance(one, dict) and not any(map(one.get, names))}


def _named(fields: Any, form: str, numbers: set[int], name: str) -> bytes:
    """The record with a name in these calls."""
    anonymous, _ = _ID_FIELDS[form]
    calls = _calls(fields, form)
    named = [{**one, anonymous: name} if n in numbers else one for n, one in enumerate(calls)]
    return msgspec.json.encode(named[0] if calls == [fields] else {**fields, "batch": named})


def _refuses_to_be_known(found: Event | DeadLetter) -> bool:
    if isinstance(found, DeadLetter) or found.consent is None:
        return False
    return found.consent.analytics is False


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
