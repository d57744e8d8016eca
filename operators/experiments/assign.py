"""Which variant a unit gets: a pure function of its id, the name of the experiment and its start.

The hash is version 2 of GrowthBook, so an SDK of theirs with the same seed gives the same answer.
It must not change. Two rounds of it make experiments independent of each other; another seed makes
the hold-out independent of all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from operators.experiments.definitions import Experiment, Experiments

BUCKETS: Final = 10_000
"""Shares are multiples of one bucket, .01 %."""

_HOLDOUT_SEED = "holdout"
_OFFSET_BASIS, _PRIME, _MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF


def fnv1a_32(text: str) -> int:
    """The 32-bit FNV-1a hash over UTF-16 code units, as in JavaScript: for ASCII, over its bytes.

    >>> hex(fnv1a_32("foobar"))
    '0xbf9cf968'
    """
    if text.isascii():
        units: bytes | memoryview = text.encode()
    else:
        units = memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")
    digest = _OFFSET_BASIS
    for unit in units:
        digest = ((digest ^ unit) * _PRIME) & _MASK
    return digest


def bucket_of(seed: str, unit_id: str) -> int:
    """The bucket of an id, 0 to 9,999.

    >>> bucket_of("seed", "a"), bucket_of("foo", "def")
    (505, 2019)
    """
    return fnv1a_32(str(fnv1a_32(seed + unit_id))) % BUCKETS


def variant_of(experiment: Experiment, unit_id: str) -> str:
    """The variant of an id. A change of shares moves only ids whose bucket lies between old and new
    border.
    """
    bucket = bucket_of(experiment.seed, unit_id)
    border = 0
    for variant, share_buckets in experiment.shares.items():
        border += share_buckets
        if bucket < border:
            return variant
    raise AssertionError("shares add up to all buckets")


def is_held_out(experiments: Experiments, unit_id: str) -> bool:
    """Whether an id is in the hold-out of the shop, and so in no experiment."""
    return bucket_of(_HOLDOUT_SEED, unit_id) < experiments.holdout_buckets
