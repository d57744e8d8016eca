"""Erases shoppers from the dead letter file: records that contain their ids are blanked in place.

The position of every letter stays the same, because a snapshot has the length of the file.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

import msgspec
import orjson

from state.dead_letters import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

BLANKED_TEXT = "(erased)"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode


def blank_letters(file: BinaryIO, names: Iterable[str]) -> int:
    """Blank the records of letters that contain one of some ids. Returns how many."""
    pattern = re.compile(
        "|".join(rf"(?<![0-9A-Za-z]){re.escape(name)}(?![0-9A-Za-z])" for name in sorted(names))
    )
    blanked = 0
    file.seek(0)
    while line := file.readline():
        end = file.tell()
        letter = _decode(line)
        if letter.raw != BLANKED_TEXT and any(map(pattern.search, _texts(letter))):
            errors = tuple(msgspec.structs.replace(error, message="") for error in letter.errors)
            replacement = _encode(
                msgspec.structs.replace(
                    letter, raw=BLANKED_TEXT, errors=errors, base64=False, cut=False
                )
            )
            if len(replacement) >= len(line):
                replacement = replacement.replace(BLANKED_TEXT.encode(), b"")
            file.seek(end - len(line))
            file.write(replacement[: len(line) - 1].ljust(len(line) - 1) + b"\n")
            file.seek(end)
            blanked += 1
    file.flush()
    return blanked


def _texts(letter: DeadLetter) -> Iterator[str]:
    """The texts of a letter that may contain an id: the record, raw and decoded, and the errors."""
    yield letter.raw
    yield unquote(letter.raw)
    yield from (error.message for error in letter.errors)
    with suppress(orjson.JSONDecodeError):
        yield from _strings(orjson.loads(letter.raw))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
