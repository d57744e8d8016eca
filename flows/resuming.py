"""Which replay a recovery folder belongs to: going on with another input would mix two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Settings

FILE_NAME = "replay.json"


class Replayed(msgspec.Struct, frozen=True):
    """What has to stay the same from start to resume."""

    file: str
    format: str
    settings: dict[str, dict[str, Any]] = {}
    """By section, as far as results depend on them; the first release noted none."""


def check_same_replay(folder: Path, file: str, format_name: str, settings: Settings) -> bool:
    """Note in a new recovery folder what is replayed; in an old one, make sure that it is the same.

    Returns whether it is an old one. Raises UserError.
    """
    asked = Replayed(Path(file).name, format_name, msgspec.to_builtins(settings.facts))
    noted = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_old = noted.exists()
        if not is_old:
            noted.write_bytes(msgspec.json.encode(asked))
        begun = msgspec.json.decode(noted.read_bytes(), type=Replayed)
    except OSError as error:
        raise UserError(
            f"recovery folder {folder}: {error.strerror}: name one that can be written to"
        ) from error
    except msgspec.DecodeError as error:
        raise UserError(f"{noted} is damaged ({error}): name another --recovery folder") from error
    if (begun.file, begun.format) != (asked.file, asked.format):
        raise UserError(
            f"recovery folder {folder} belongs to a replay of {begun.file} (--format "
            f"{begun.format}): name another for this one"
        )
    if changed := sorted(_changed(begun, asked)):
        raise UserError(
            f"recovery folder {folder} was made with another configuration ({', '.join(changed)}): go "
            "back to that, or name a new folder and start again"
        )
    return is_old


def _changed(begun: Replayed, asked: Replayed) -> Iterator[str]:
    """The keys whose values differ; those that only one of two releases has do not count."""
    for section, before in begun.settings.items():
        now = asked.settings.get(section, {})
        yield from (
            f"{section}.{key}" for key in before.keys() & now.keys() if before[key] != now[key]
        )
