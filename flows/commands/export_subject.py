"""`penstock export-subject`: writes everything that Redis stores about a shopper to a file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from flows.commands.arguments import complete
from flows.commands.options import load_settings, open_external_store, print_unknown_shopper
from flows.commands.summaries import SUMMARIES
from serving.explain import explain
from serving.reader import Storefront
from state import keys, private_files
from state.errors import OutputError
from state.replies import decode_fields

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from state.store import Store

PAGE_ENTRIES = 10_000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "export-subject",
        help=SUMMARIES["export-subject"],
        description="Write everything that Redis stores about a shopper and their devices to a file "
        "that only its owner may read: each key with its value, and the view of a storefront with "
        "reasons.",
    )
    add = parser.add_argument
    add("shopper", metavar="ID", help="a user id or an anonymous id")
    add("--out", metavar="FILE", type=Path, required=True, help="the JSON file to write")
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Collect and write. Returns 1 if nothing is stored about the shopper. Raises UserError."""
    settings = load_settings(args)
    store = open_external_store(args, settings)
    with store.errors_as_user_errors():
        collected = _collect(store, args.shopper) if args.shopper else {}
        explanation = explain(Storefront(store), args.shopper) if collected else None
    if not collected:
        return print_unknown_shopper(store, args.shopper)
    document = {"id": args.shopper, "explained": explanation, "held": collected}
    text = msgspec.json.format(msgspec.json.encode(document)) + b"\n"
    try:
        args.out.unlink(missing_ok=True)
        with open(args.out, "wb", opener=private_files.opener) as file:
            file.write(text)
    except OSError as error:
        raise OutputError(
            f"cannot write {args.out}: {error.strerror}: name another file"
        ) from error
    print(f"{len(collected):,} keys that hold something of {args.shopper} are in {args.out}")
    return 0


def _collect(store: Store, some_id: str) -> dict[str, Any]:
    """Return key -> value; of a key with many shoppers only the part about this one."""
    client: Any = store.client
    shopper = Storefront(store).resolve(some_id)
    devices = [
        _id_of_alias_key(key) for key in client.scan_iter(match=keys.alias_pattern(), count=1000)
        if client.get(key) == shopper.encode()
    ]  # fmt: skip
    names = {shopper, some_id, *devices}
    collected: dict[str, Any] = {}
    for name in sorted(names):
        own = [
            *client.scan_iter(match=f"{_escape_pattern(keys.shopper_key(name))}*", count=1000),
            keys.alias_key(name).encode(),
            keys.device_row_key(name).encode(),
        ]
        for key in sorted(set(own)):
            value = _read_value(client, key)
            if value is not None:
                collected[key.decode()] = value
        for sid in client.hkeys(keys.segments_key(name)):
            key = keys.members_key(sid.decode())
            collected.setdefault(key, {})[name] = int(client.zscore(key, name) or 0)
    for stream in range(keys.CHANGE_STREAMS):
        key = keys.change_stream_key(stream)
        entries = [
            {"entry": entry_id.decode(), **decode_fields(fields)}
            for entry_id, fields in _entries(client, key)
            if {fields[b"shopper"].decode(), fields[b"segment"].decode()} & names
        ]
        collected |= {key: entries} if entries else {}
    recent = [
        event
        for _, fields in _entries(client, keys.recent_key())
        for event in orjson.loads(fields[b"events"])
        if event[0] in names
    ]
    return collected | ({keys.recent_key(): recent} if recent else {})


def _read_value(client: Any, key: bytes) -> Any:
    kind = client.type(key)
    if kind == b"hash":
        return decode_fields(client.hgetall(key))
    if kind == b"set":
        return sorted(member.decode() for member in client.smembers(key))
    if kind != b"string":
        return None
    raw: bytes = client.get(key)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _entries(client: Any, key: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    start: bytes = b"-"
    while True:
        page = client.xrange(key, min=start, count=PAGE_ENTRIES)
        yield from page
        if len(page) < PAGE_ENTRIES:
            return
        start = b"(" + page[-1][0]


def _id_of_alias_key(key: bytes) -> str:
    """Return the anonymous id of an alias key."""
    return keys.decode_part(key.decode().partition("{")[2].rpartition("}")[0])


def _escape_pattern(text: str) -> str:
    """Return a Redis pattern that matches exactly this text."""
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)
