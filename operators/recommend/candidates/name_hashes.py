"""How alike two names are, by 64 bits each: hashed TF-IDF, of which only the signs are kept.

Cosine of TF-IDF vectors by random projections: Charikar, "Similarity estimation techniques from
rounding algorithms", STOC 2002. What words weigh is counted as names come, so there is nothing to
be built anew; a name keeps the code it got.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table import Kept, Table
from state.dirty_rows import Marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Weights

BITS = 64
CELLS = 1 << 14
"""Cells of the counts of words: words that share one count together."""
WORDS_MAX = 16
_WORD = re.compile(r"\w{2,}")


class NameCodes(Kept):
    """Codes of names. names float32[CELLS]: how many had a word of the cell, and `told` of all."""

    def __init__(self) -> None:
        self.names: Weights = np.zeros(CELLS + 1, np.float32)
        self._marks = Marks(CELLS + 1)

    def take(self, names: Sequence[str]) -> tuple[list[str], NDArray[np.uint64]]:
        """Count names by their words; of each the word that tells most and the code.

        "" and 0 for one without words. The word is the rarest that others had too, of equals the last:
        "red mug".
        """
        telling, codes = [], np.zeros(len(names), np.uint64)
        for at, name in enumerate(names):
            words = list(dict.fromkeys(_WORD.findall(name.casefold())))[:WORDS_MAX]
            if not words:
                telling.append("")
                continue
            digests = [_digest(word) for word in words]
            cells = np.array([int.from_bytes(one[:4], "little") % CELLS for one in digests])
            seen = self.names[cells]
            telling.append(words[min(range(len(words)), key=lambda n: (not seen[n], seen[n], -n))])
            self.names[cells] += 1
            self.names[CELLS] += 1
            self._marks.mark(cells)
            self._marks.mark(CELLS)
            weight = np.log1p(self.names[CELLS] / self.names[cells])
            bits = np.unpackbits(np.frombuffer(b"".join(digests), np.uint8))
            sign = weight @ (2.0 * bits.reshape(len(words), BITS) - 1) > 0
            codes[at] = max(1, int.from_bytes(np.packbits(sign).tobytes(), "little"))
        return telling, codes

    @staticmethod
    def alike(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> Weights:
        """How alike codes are, 0 to 1: the squared cosine, 0 where a name is not known."""
        apart = np.bitwise_count(one ^ other)
        return _BY_BITS[np.where((one == 0) | (other == 0), BITS, apart)]

    def tables(self) -> Sequence[Table]:
        """How many names had each word."""
        return [Table({"names": self.names}, self._marks)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.names = arrays["names"].astype(np.float32)
        self._marks = Marks(CELLS + 1)


_BY_BITS = np.square(np.maximum(np.cos(np.pi * np.arange(BITS + 1) / BITS), 0)).astype(np.float32)


def _digest(word: str) -> bytes:
    return blake2b(word.encode("utf-8", "surrogatepass"), digest_size=BITS // 8).digest()
