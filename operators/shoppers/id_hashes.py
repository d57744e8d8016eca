"""Hashes of ids: 8 bytes of BLAKE2b in place of an id, for events, orders, refunds and items.

Stored in shopper rows: the function must not change.
"""

from __future__ import annotations

from hashlib import blake2b

HASH_BYTES = 8


def id_hash(text: str) -> bytes:
    """The hash of an id.

    >>> id_hash("order 1").hex()
    'd6f792eb23173793'
    """
    return blake2b(text.encode(), digest_size=HASH_BYTES).digest()
