"""`penstock export-subject`: all that Redis holds of one shopper, and under which key, as one file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from flows.commands.options import add_redis, add_settings, external_redis_url, load_settings
from flows.process.printing import print_error
from serving.explain import explain
from serving.reader import Storefront
from state import keys, private_files
from state.errors import OutputError
from state.store import Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

EXIT_NOT_FOUND = 1
PAGE_ENTRIES = 10_000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "export-subject",
        help="all that is held of a shopper, as one file",
        description="Write all that Redis holds of a shopper and their devices to a file that only its "
        "owner may read: by key, and as a storefront reads it, with why.",
    )
    add = parser.add_argument
    add("shopper", metavar="ID", help="a user id or an anonymous id")
    add("--out", metavar="FILE", type=Path, required=True, help="where to write it, as JSON")
    add_redis(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read and write. Returns 1 for a shopper of whom nothing is held. Raises UserError."""
    settings = load_settings(args)
    url = external_redis_url(args, settings)
    store = Store(url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    with store.errors_as_user_errors():
        collected = _collect(store, args.shopper) if args.shopper else {}
        explanation = explain(Storefront(store), args.shopper) if collected else None
    if not collected:
        print_error(
            f"Redis at {store.address} knows no shopper {args.shopper!r}: never seen, erased, or expired"
        )
        return EXIT_NOT_FOUND
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
    """What each key holds, by key; of keys of many shoppers what is about this one."""
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
            {"entry": entry_id.decode(), **_decode_fields(fields)}
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
        return _decode_fields(client.hgetall(key))
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


def _decode_fields(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


def _entries(client: Any, key: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    start: bytes = b"-"
    while True:
        page = client.xrange(key, min=start, count=PAGE_ENTRIES)
        yield from page
        if len(page) < PAGE_ENTRIES:
            return
        start = b"(" + page[-1][0]


def _id_of_alias_key(key: bytes) -> str:
    """The id that an alias key is about."""
    return keys.decode_part(key.decode().partition("{")[2].rpartition("}")[0])


def _escape_pattern(text: str) -> str:
    """A text as a pattern of Redis that means itself."""
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)
