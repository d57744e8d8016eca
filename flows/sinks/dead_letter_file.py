"""Dead letters of a file that name somebody who was erased: their record is blanked where it stands.

Where every letter begins stays as it was, since a snapshot knows how long the file is.
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

BLANKED = "(erased)"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode


def blank(file: BinaryIO, names: Iterable[str]) -> int:
    """Blank the records of letters that name one of some ids; how many they were."""
    named = re.compile(
        "|".join(rf"(?<![0-9A-Za-z]){re.escape(one)}(?![0-9A-Za-z])" for one in sorted(names))
    )
    blanked = 0
    file.seek(0)
    while line := file.readline():
        after = file.tell()
        letter = _decode(line)
        if letter.raw != BLANKED and any(map(named.search, _texts(letter))):
            errors = tuple(msgspec.structs.replace(one, message="") for one in letter.errors)
            kept = _encode(
                msgspec.structs.replace(letter, raw=BLANKED, errors=errors, base64=False, cut=False)
            )
            if len(kept) >= len(line):
                kept = kept.replace(BLANKED.encode(), b"")
            file.seek(after - len(line))
            file.write(kept[: len(line) - 1].ljust(len(line) - 1) + b"\n")
            file.seek(after)
            blanked += 1
    file.flush()
    return blanked


def _texts(letter: DeadLetter) -> Iterator[str]:
    """What may name somebody: the record as it came and as it reads, and what was said of it."""
    yield letter.raw
    yield unquote(letter.raw)
    yield from (one.message for one in letter.errors)
    with suppress(orjson.JSONDecodeError):
        yield from _strings(orjson.loads(letter.raw))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
