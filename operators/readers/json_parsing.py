"""Parses the bytes of a record into a JSON object, and accepts what real senders send beyond JSON."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.decode import nesting_violation
from operators.readers.values import BadFieldError

if TYPE_CHECKING:
    from state.limits import Limits

DIGITS_MAX = 400
"""Longer integers count as infinite: the time to read one grows with the square of its length."""

_decode = msgspec.json.Decoder().decode


def parse_record(raw: bytes, limits: Limits) -> dict[str, Any]:
    """The object of a record, with or without a byte order mark. Raises BadFieldError."""
    if len(raw) > limits.event_bytes_max:
        message = f"{len(raw)} bytes or more; at most {limits.event_bytes_max}"
        raise BadFieldError("too_large", "$", message)
    if (fault := nesting_violation(raw)) is not None:
        raise BadFieldError(*fault)
    raw = raw.removeprefix(BOM_UTF8)
    try:
        record = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        record = _parse_leniently(raw, error)
    if not isinstance(record, dict):
        raise BadFieldError("schema_violation", "$", "expected an object")
    return record


def _parse_leniently(raw: bytes, strict_error: Exception) -> object:
    """Parse what is not strict JSON: `NaN`, numbers that are too large, half of an emoji."""
    try:
        return _replace_surrogates(json.loads(raw.decode(), parse_int=_parse_integer))
    except (ValueError, RecursionError):
        raise BadFieldError("not_json", "$", str(strict_error)) from None


def _parse_integer(digits: str) -> float:
    return int(digits) if len(digits) <= DIGITS_MAX else float("inf")


def _replace_surrogates(value: Any) -> Any:
    """The same with each lone surrogate replaced, because it could not be encoded again."""
    if isinstance(value, str):
        return _replace_surrogates_in_text(value)
    if isinstance(value, list):
        return [_replace_surrogates(element) for element in value]
    if isinstance(value, dict):
        return {
            _replace_surrogates_in_text(name): _replace_surrogates(element)
            for name, element in value.items()
        }
    return value


def _replace_surrogates_in_text(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
