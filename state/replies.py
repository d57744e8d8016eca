"""Parses parts of Redis replies that several readers need: ids of stream entries, fields of a HASH."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEQUENCE_MAX = 2**64 - 1


def parse_entry_id(entry_id: bytes) -> tuple[int, int]:
    """Return time (ms) and sequence number of a stream id, which is also its sort key.

    >>> parse_entry_id(b"12-3"), parse_entry_id(b"12")
    ((12, 3), (12, 0))
    """
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence or 0)


def previous_entry_id(entry_id: bytes) -> str:
    """Return the greatest id below an id.

    >>> previous_entry_id(b"7-2"), previous_entry_id(b"7-0")
    ('7-1', '6-18446744073709551615')
    """
    ms, sequence = parse_entry_id(entry_id)
    return f"{ms}-{sequence - 1}" if sequence else f"{ms - 1}-{_SEQUENCE_MAX}"


def decode_fields(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the fields of a HASH or of a stream entry as text.

    >>> decode_fields({b"kind": b"enter"})
    {'kind': 'enter'}
    """
    return {name.decode(): value.decode() for name, value in fields.items()}
