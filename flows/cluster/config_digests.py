"""Digests of the settings that must be the same in all processes of a run across hosts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from state import keys

if TYPE_CHECKING:
    from flows.cluster.placement import ClusterPosition
    from state.config import Settings

_HOST_SPECIFIC = (
    "log",
    "metrics",
    "redis.url",
    "kafka.bootstrap_servers",
    "kafka.ca_file",
    "kafka.certificate_file",
    "kafka.key_file",
    "segments.file",
)
"""Settings that may differ between hosts: logs, metrics, and the way to the same Redis and Kafka."""


def config_digests(settings: Settings, position: ClusterPosition) -> dict[str, str]:
    """A digest of each setting that must be the same in all processes of a run, by name."""
    texts = {"-a": ";".join(position.addresses), "the release": keys.WRITER_VERSION}
    for section, values in msgspec.to_builtins(settings).items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        by_name = {f"{section}.{key}".rstrip("."): value for key, value in pairs}
        texts |= {
            name: str(value)
            for name, value in by_name.items()
            if section not in _HOST_SPECIFIC and name not in _HOST_SPECIFIC
        }
    return {
        name: hashlib.blake2s(value.encode(), digest_size=6).hexdigest()
        for name, value in texts.items()
    }


def differing_settings(mine: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """The names of the settings whose digests differ.

    >>> differing_settings({"kafka.topic": "1", "run": "2"}, {"kafka.topic": "1", "run": "3", "-a": "4"})
    ['-a', 'run']
    """
    return [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
