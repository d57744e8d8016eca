"""Texts by code, and as bytes that kernels can compare: categories, currencies.

Use this where a few texts come again and again. Codes are not stored: they depend on the order in
which texts were first seen. Related: row indexes (`state.interactions.RowIndex`), which are stored.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol

import numpy as np

from operators.tables.array_ops import grow

if TYPE_CHECKING:
    from numpy.typing import NDArray

SWEPT_ABOVE = 1 << 12
"""So many texts are kept whether they are used or not."""


class CodeHolder(Protocol):
    """A table that has codes of a pool in its columns."""

    def used_codes(self) -> NDArray[np.int64]:
        """The codes in its columns, some of them more than once."""

    def recode(self, new_codes: NDArray[np.int64]) -> None:
        """Write the new code in place of each."""


class TextPool:
    """Texts, each with a code; code 0 is the empty text.

    Texts that no table uses any more are dropped when there are twice as many as were used, so the pool
    is as large as its tables, whatever names a shop's records bring.

    `content` has the bytes of all texts (UTF-8), text `code` from `begin[code]` to `begin[code + 1]`.

    >>> pool = TextPool(); pool.code_of("shoes"), pool.code_of("hats"), pool.code_of("shoes")
    (1, 2, 1)
    >>> pool.text_of[2], bytes(pool.content[pool.begin[2] : pool.begin[3]])
    ('hats', b'hats')
    """

    def __init__(self) -> None:
        self.text_of: list[str] = [""]
        self.content = np.zeros(64, np.uint8)
        self.begin = np.zeros(64, np.int64)
        self._codes = {"": 0}
        self._codes_of_paths: dict[tuple[str, ...], int] = {}
        self._holders: list[weakref.ref[CodeHolder]] = []
        self._sweep_above = SWEPT_ABOVE

    def add_holder(self, holder: CodeHolder) -> None:
        """Keep the texts whose codes a table has, as long as there is the table."""
        self._holders.append(weakref.ref(holder))

    def sweep_if_due(self) -> None:
        """Drop the texts that no table uses, if there are many. Codes change: call this where nobody
        but the tables has any, between two batches."""
        if len(self.text_of) > self._sweep_above:
            self._sweep()

    def _sweep(self) -> None:
        self._holders = [holder for holder in self._holders if holder() is not None]
        holders = [found for holder in self._holders if (found := holder()) is not None]
        is_used = np.zeros(len(self.text_of), np.bool_)
        for holder in holders:
            is_used[holder.used_codes()] = True
        is_used[0] = True
        new_codes = np.cumsum(is_used) - 1
        texts = [self.text_of[code] for code in np.flatnonzero(is_used).tolist()]
        self.text_of, self._codes, self._codes_of_paths = [""], {"": 0}, {}
        self.content, self.begin = np.zeros(64, np.uint8), np.zeros(64, np.int64)
        for text in texts[1:]:
            self._add(text)
        for holder in holders:
            holder.recode(new_codes)
        self._sweep_above = max(SWEPT_ABOVE, 2 * len(texts))

    def code_of(self, text: str) -> int:
        """The code of a text, a new one if it was not seen before."""
        code = self._codes.get(text)
        if code is None:
            code = self._add(text)
        return code

    def code_of_path(self, path: tuple[str, ...]) -> int:
        """The code of the names of a path, joined by slashes."""
        code = self._codes_of_paths.get(path)
        if code is None:
            code = self._codes_of_paths[path] = self.code_of("/".join(path))
        return code

    def _add(self, text: str) -> int:
        # A lone surrogate has no UTF-8; what stands for it compares as it does.
        packed = text.encode("utf-8", "surrogatepass")
        code = len(self.text_of)
        begin = int(self.begin[code])
        end = begin + len(packed)
        self.content = grow(self.content, end, 0)
        self.content[begin:end] = np.frombuffer(packed, np.uint8)
        self.begin = grow(self.begin, code + 2, 0)
        self.begin[code + 1] = end
        self.text_of.append(text)
        self._codes[text] = code
        return code
