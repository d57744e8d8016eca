"""Which input a recovery folder belongs to: going on with another would mix two."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from state import private_files
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Settings

FILE_NAME = "replay.json"
LIVE_NAME = "live.json"


_Note = TypeVar("_Note")


class Replayed(msgspec.Struct, frozen=True):
    """What has to stay the same from start to resume."""

    file: str
    format: str
    settings: dict[str, dict[str, Any] | str] = {}
    """By section, as far as results depend on them; the first release noted none.

    The rules of segments are one text.
    """


class Ran(msgspec.Struct, frozen=True):
    """What has to stay the same from start to resume of a live run, by its key."""

    settings: dict[str, str | int]


def check_same_run(folder: Path, settings: Settings) -> None:
    """Note in a new recovery folder what a live run must not change; in an old one, compare.

    Raises UserError.
    """
    if (folder / FILE_NAME).exists():
        raise _others(folder, "a replay")
    asked: dict[str, str | int] = {"kafka.topic": settings.kafka.topic}
    noted, _ = _noted(folder / LIVE_NAME, Ran(asked))
    begun = noted.settings
    changed = [f"{key}={begun[key]}" for key in asked if begun.get(key, asked[key]) != asked[key]]
    if changed:
        raise _others(folder, f"a run with {', '.join(changed)}")


def check_same_replay(folder: Path, file: str, format_name: str, settings: Settings) -> bool:
    """Note in a new recovery folder what is replayed; in an old one, make sure that it is the same.

    Returns whether it is an old one. Raises UserError.
    """
    # As it is read again: JSON has no tuples.
    facts = msgspec.json.decode(msgspec.json.encode(settings.facts))
    asked = Replayed(Path(file).name, format_name, facts)
    if (folder / LIVE_NAME).exists():
        raise _others(folder, "a live run")
    begun, is_old = _noted(folder / FILE_NAME, asked)
    if (begun.file, begun.format) != (asked.file, asked.format):
        raise _others(folder, f"a replay of {begun.file} (--format {begun.format})")
    if changed := sorted(_changed(begun, asked)):
        raise UserError(
            f"recovery folder {folder} was made with another configuration ({', '.join(changed)}): go "
            "back to that, or name a new folder and start again"
        )
    return is_old


def _changed(begun: Replayed, asked: Replayed) -> Iterator[str]:
    """The keys whose values differ; those that only one of two releases has do not count."""
    for section, before in begun.settings.items():
        now = asked.settings.get(section)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from (
                f"{section}.{key}" for key in before.keys() & now.keys() if before[key] != now[key]
            )
        elif now is not None and before != now:
            yield section


def _noted(path: Path, asked: _Note) -> tuple[_Note, bool]:
    """What a folder notes, and whether it did before; else `asked`, noted now."""
    folder = path.parent
    try:
        private_files.make_folder(folder)
        is_old = path.exists()
        if not is_old:
            begun = path.with_suffix(f".{os.getpid()}")
            private_files.write(path, msgspec.json.encode(asked), begun=begun)
        return msgspec.json.decode(path.read_bytes(), type=type(asked)), is_old
    except OSError as error:
        raise UserError(
            f"recovery folder {folder}: {error.strerror}: name one that can be written to"
        ) from error
    except msgspec.DecodeError as error:
        raise UserError(f"{path} is damaged ({error}): name another --recovery folder") from error


def _others(folder: Path, whose: str) -> UserError:
    return UserError(f"recovery folder {folder} belongs to {whose}: name another for this one")
