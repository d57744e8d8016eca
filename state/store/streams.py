"""Repairs streams whose entries have ids that the writer chose.

Redis refuses an entry whose id is not greater than the newest id of the stream. When a write is
sent again, such a refusal usually means that the entry exists. But if the entry was refused for
another reason before (a full server) while a later entry was accepted, the later entries must be
deleted first, since a stream grows only at its end.
"""

from __future__ import annotations

import re
from typing import Any

from hiredis import Reader

from state.replies import parse_entry_id, previous_entry_id

_ID = re.compile(rb"(\d+)-(\d+)")


def remove_conflicting(client: Any, packed: list[bytes]) -> bool:
    """Return whether an entry of refused XADD commands is missing; then delete newer entries.

    If so, the caller must send all commands again, from the first. An entry older than the whole of
    a full stream does not count as missing: it was trimmed.
    """
    refused = list(map(_parse_command, packed))
    # Not each entry of a stream has to say how long the stream may be.
    limits = {command[1]: _limit(command) for command in refused if b"MAXLEN" in command}
    reads = client.pipeline(transaction=False)
    for command in refused:
        reads.xrange(command[1], _entry_id(command), _entry_id(command))
        reads.xlen(command[1])
    replies = reads.execute()
    rewound: set[bytes] = set()
    for command, entry, length in zip(refused, replies[::2], replies[1::2], strict=True):
        key, wanted = command[1], _entry_id(command)
        if entry or key in rewound or _is_trimmed(client, command, length, limits.get(key)):
            continue
        newer = [entry_id for entry_id, _ in client.xrange(key, min=b"(" + wanted)]
        if newer:
            client.xdel(key, *newer)
        previous_id = previous_entry_id(wanted)
        client.execute_command("XSETID", key, previous_id)
        for group in client.xinfo_groups(key):
            # A group does not deliver entries below its last id, so that id moves back too.
            if parse_entry_id(group["last-delivered-id"]) >= parse_entry_id(wanted):
                client.xgroup_setid(key, group["name"], previous_id)
        rewound.add(key)
    return bool(rewound)


def _parse_command(packed: bytes) -> list[bytes]:
    reader = Reader()
    reader.feed(packed)
    arguments: list[bytes] = reader.gets()
    return arguments


def _entry_id(command: list[bytes]) -> bytes:
    return next(word for word in command[2:] if _ID.fullmatch(word))


def _limit(command: list[bytes]) -> int:
    return int(command[command.index(b"MAXLEN") + 2])


def _is_trimmed(client: Any, command: list[bytes], length: int, limit: int | None) -> bool:
    if limit is None or length < limit:
        return False
    oldest = client.xrange(command[1], count=1)
    return bool(parse_entry_id(_entry_id(command)) < parse_entry_id(oldest[0][0]))
