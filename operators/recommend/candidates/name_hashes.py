"""Similarity of names by 64 bits each: the signs of a hashed TF-IDF vector.

Cosine of TF-IDF vectors by random projections: Charikar, "Similarity estimation techniques from
rounding algorithms", STOC 2002. Words are counted as names come, so there is no index to rebuild; a name
keeps the hash it got.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Weights

BITS = 64
COUNT_CELLS = 1 << 14
"""Cells of the counts of words: words that share one count together."""
WORDS_MAX = 16
SIMILARITY_BY_BITS = np.square(np.maximum(np.cos(np.pi * np.arange(BITS + 1) / BITS), 0)).astype(
    np.float32
)
"""The similarity of two hashes, 0 to 1, by how many bits differ: the squared cosine."""
_WORD = re.compile(r"\w{2,}")


class NameHashes(TableState):
    """Hashes of names. names float32[COUNT_CELLS + 1]: names with a word of the cell; the last counts
    all."""

    def __init__(self) -> None:
        self.names: Weights = np.zeros(COUNT_CELLS + 1, np.float32)
        self._dirty_rows = DirtyRows(COUNT_CELLS + 1)

    def update(self, names: Sequence[str]) -> tuple[list[str], NDArray[np.uint64]]:
        """Count names by their words; returns the keyword and the hash of each name.

        "" and 0 for a name without words. The keyword is the rarest word that other names had too, of
        equals the last: "red mug".
        """
        keywords, hashes = [], np.zeros(len(names), np.uint64)
        for index, name in enumerate(names):
            words = list(dict.fromkeys(_WORD.findall(name.casefold())))[:WORDS_MAX]
            if not words:
                keywords.append("")
                continue
            digests = [_digest(word) for word in words]
            cells = np.array([int.from_bytes(one[:4], "little") % COUNT_CELLS for one in digests])
            seen = self.names[cells]
            keywords.append(words[min(range(len(words)), key=lambda n: (not seen[n], seen[n], -n))])
            self.names[cells] += 1
            self.names[COUNT_CELLS] += 1
            self._dirty_rows.mark(cells)
            self._dirty_rows.mark(COUNT_CELLS)
            weight = np.log1p(self.names[COUNT_CELLS] / self.names[cells])
            bits = np.unpackbits(np.frombuffer(b"".join(digests), np.uint8))
            sign = weight @ (2.0 * bits.reshape(len(words), BITS) - 1) > 0
            hashes[index] = max(1, int.from_bytes(np.packbits(sign).tobytes(), "little"))
        return keywords, hashes

    def tables(self) -> Sequence[Table]:
        """The number of names with each word."""
        return [Table({"names": self.names}, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.names = arrays["names"].astype(np.float32)
        self._dirty_rows = DirtyRows(COUNT_CELLS + 1)


def _digest(word: str) -> bytes:
    return blake2b(word.encode("utf-8", "surrogatepass"), digest_size=BITS // 8).digest()
