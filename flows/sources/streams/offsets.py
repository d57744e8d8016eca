"""Offsets of stream entries: an id `<ms>-<sequence>` as one number that grows with it."""

from __future__ import annotations

from state.replies import parse_entry_id

_SEQUENCE_BITS = 20
SEQUENCE_MAX = (1 << _SEQUENCE_BITS) - 1
"""Redis numbers the entries of one millisecond; it takes no million of them in one."""


def offset_of(entry_id: bytes) -> int:
    """The offset of an entry.

    >>> offset_of(b"1-0"), offset_of(b"1-5") - offset_of(b"1-0"), offset_of(b"2-0") > offset_of(b"1-9")
    (1048576, 5, True)
    """
    ms, sequence = parse_entry_id(entry_id)
    return (ms << _SEQUENCE_BITS) + min(sequence, SEQUENCE_MAX)


def entry_id_of(offset: int) -> str:
    """The id of an offset.

    >>> entry_id_of(offset_of(b"1795262400000-7"))
    '1795262400000-7'
    """
    return f"{offset >> _SEQUENCE_BITS}-{offset & SEQUENCE_MAX}"


def offset_at(at_ms: int) -> int:
    """The first offset of a time (ms)."""
    return at_ms << _SEQUENCE_BITS


def time_of(offset: int) -> int:
    """When the entry was received (ms): its id says so."""
    return offset >> _SEQUENCE_BITS
