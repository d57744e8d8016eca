"""What readers see of profiles and sessions after each output, however much of it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from state.resp import pack_command
from tests.streams import arguments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.messages import ShardOutput

Hashes = dict[str, dict[Any, Any]]


def as_read(outputs: Iterable[ShardOutput]) -> list[dict[str, Any]]:
    """The outputs as dicts, in which each HSET has all fields of its key, and no expiry of a profile is:
    how often it is renewed depends on what was written before."""
    hashes: Hashes = {}
    read = []
    for output in outputs:
        fields = asdict(output)
        for name in ("removal_writes", "writes"):
            fields[name] = [_apply(arguments(write), hashes) for write in fields[name]]
        fields["active"] = [
            (
                *(row.shopper, row.known, row.refused, row.features),
                _apply(arguments(pack_command(row.profile, row.argument_count)), hashes),
            )
            for row in output.active
        ]
        del fields["expiry_writes"]
        read.append(fields)
    return read


def _apply(command: tuple[Any, ...], hashes: Hashes) -> tuple[Any, ...]:
    name, key, *rest = command
    if name == "DEL":
        for deleted in (key, *rest):
            hashes.pop(deleted, None)
    if name != "HSET":
        return command
    hashes.setdefault(key, {}).update(zip(rest[::2], rest[1::2], strict=True))
    return name, key, sorted(hashes[key].items())
