"""Names of what rules store: a number that says what a condition or a window means.

Stored in snapshots: the same content must have the same digest in every release.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode


def digest(*parts: object) -> int:
    """A number of 63 bits that is the same in every run, from values and structs."""
    content = _without_words(msgspec.to_builtins(parts))
    return int.from_bytes(blake2b(_encode(content), digest_size=8).digest(), "big") >> 1


def _without_words(content: object) -> object:
    """The same without how bounds read: `>= 3` and `at least 3` are one condition."""
    if isinstance(content, dict):
        return {name: _without_words(value) for name, value in content.items() if name != "words"}
    if isinstance(content, list | tuple):
        return [_without_words(value) for value in content]
    return content
