"""The bytes of a record to the JSON object they are, read as far as JSON can be read."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.decode import nesting_fault
from operators.readers.fields import BadFieldError

if TYPE_CHECKING:
    from state.limits import Limits

DIGITS_MAX = 400
"""A longer whole number is none that anybody counts; to read it would take its length squared."""

_decode = msgspec.json.Decoder().decode


def parsed(raw: bytes, limits: Limits) -> dict[str, Any]:
    """The object of a record, a byte order mark before it or not. Raises BadFieldError."""
    if len(raw) > limits.event_bytes_max:
        message = f"{len(raw)} bytes or more; at most {limits.event_bytes_max}"
        raise BadFieldError("too_large", "$", message)
    if (fault := nesting_fault(raw)) is not None:
        raise BadFieldError(*fault)
    raw = raw.removeprefix(BOM_UTF8)
    try:
        record = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        record = _as_others_write(raw, error)
    if not isinstance(record, dict):
        raise BadFieldError("schema_violation", "$", "expected an object")
    return record


def _as_others_write(raw: bytes, strict: Exception) -> object:
    """What is no JSON by the letter and yet sent: `NaN`, a number too large, half of an emoji."""
    try:
        return _whole(json.loads(raw.decode(), parse_int=_whole_number))
    except (ValueError, RecursionError):
        raise BadFieldError("not_json", "$", str(strict)) from None


def _whole_number(digits: str) -> float:
    return int(digits) if len(digits) <= DIGITS_MAX else float("inf")


def _whole(value: Any) -> Any:
    """The same with every half of a letter replaced: it could not be written out again."""
    if isinstance(value, str):
        return _mended(value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {_mended(name): _whole(one) for name, one in value.items()}
    return value


def _mended(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
