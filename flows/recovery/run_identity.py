"""The identity of a recovery folder's run: resuming with another input would mix two runs.

`replay.json` and `live.json` in the folder are stored by field name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from state import private_files
from state.errors import RecoveryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Settings

REPLAY_FILE = "replay.json"
LIVE_FILE = "live.json"
SHARDS_KEY = "sessions.shards"
"""Results do not depend on it, and a start compares it with the stored shards."""


_Identity = TypeVar("_Identity")


class ReplayIdentity(msgspec.Struct, frozen=True):
    """What must not change between the start of a replay and its resume."""

    file: str
    format: str
    settings: dict[str, dict[str, Any] | str] = {}
    """By section, only settings that affect results; the first release stored none.

    The segment rules are one text.
    """


class LiveIdentity(msgspec.Struct, frozen=True):
    """Settings that must not change between the start of a live run and its resume, by key."""

    settings: dict[str, str | int]


def check_same_run(folder: Path, settings: Settings) -> None:
    """Store the identity of a live run in a new recovery folder, compare it in an old one.

    Raises UserError if it differs.
    """
    if (folder / REPLAY_FILE).exists():
        raise _mismatch_error(folder, "a replay")
    current: dict[str, str | int] = {"kafka.topic": settings.kafka.topic}
    identity, _ = _read_or_create(folder / LIVE_FILE, LiveIdentity(current))
    recorded = identity.settings
    changed = [
        f"{key}={recorded[key]}"
        for key in current
        if recorded.get(key, current[key]) != current[key]
    ]
    if changed:
        raise _mismatch_error(folder, f"a run with {', '.join(changed)}")


def check_same_replay(folder: Path, file: str, format_name: str, settings: Settings) -> bool:
    """Store the identity of a replay in a new recovery folder, compare it in an old one.

    Returns whether it is an old one. Raises UserError if the identity differs.
    """
    # In the form in which JSON gives it back: JSON has no tuples.
    facts = msgspec.json.decode(msgspec.json.encode(settings.without_deployment))
    current = ReplayIdentity(Path(file).name, format_name, facts)
    if (folder / LIVE_FILE).exists():
        raise _mismatch_error(folder, "a live run")
    recorded, is_old = _read_or_create(folder / REPLAY_FILE, current)
    if (recorded.file, recorded.format) != (current.file, current.format):
        raise _mismatch_error(folder, f"a replay of {recorded.file} (--format {recorded.format})")
    if changed := sorted(_changed_keys(recorded, current)):
        raise RecoveryError(
            f"recovery folder {folder} was made with another configuration ({', '.join(changed)}): go "
            "back to that, or name a new folder and start again"
        )
    return is_old


def _changed_keys(recorded: ReplayIdentity, current: ReplayIdentity) -> Iterator[str]:
    """The keys whose values differ; keys that only one of two releases has do not count."""
    for section, old_values in recorded.settings.items():
        new_values = current.settings.get(section)
        if isinstance(old_values, dict) and isinstance(new_values, dict):
            yield from (
                f"{section}.{key}"
                for key in old_values.keys() & new_values.keys()
                if old_values[key] != new_values[key] and f"{section}.{key}" != SHARDS_KEY
            )
        elif new_values is not None and _parsed(old_values) != _parsed(new_values):
            yield section


def _parsed(rules: object) -> object:
    """Segment rules without their comments, in their order; a text that is no YAML stays as it is."""
    try:
        return repr(msgspec.yaml.decode(rules)) if isinstance(rules, str) else rules
    except msgspec.DecodeError:
        return rules


def _read_or_create(path: Path, current: _Identity) -> tuple[_Identity, bool]:
    """The identity in a folder, and whether it existed before; a new folder gets `current`."""
    folder = path.parent
    try:
        private_files.make_folder(folder)
        is_old = path.exists()
        if not is_old:
            staging = path.with_suffix(f".{os.getpid()}")
            private_files.write_atomically(path, msgspec.json.encode(current), temporary=staging)
        return msgspec.json.decode(path.read_bytes(), type=type(current)), is_old
    except OSError as error:
        raise RecoveryError(
            f"recovery folder {folder}: {error.strerror}: name a writable one"
        ) from error
    except msgspec.DecodeError as error:
        raise RecoveryError(
            f"{path} is damaged ({error}): name another --recovery folder"
        ) from error


def _mismatch_error(folder: Path, owner: str) -> RecoveryError:
    return RecoveryError(f"recovery folder {folder} belongs to {owner}: name another for this one")
