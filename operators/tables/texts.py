"""Texts by code, and as bytes that kernels can compare: categories, currencies.

Use this where a few texts come again and again. Codes are not stored: they depend on the order in
which texts were first seen. Related: row indexes (`state.interactions.RowIndex`), which are stored.
"""

from __future__ import annotations

import numpy as np

from operators.tables.array_ops import grow


class TextPool:
    """Texts, each with a code; code 0 is the empty text.

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
