"""The pool of texts is as large as what its tables use, whatever names records bring."""

from __future__ import annotations

from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.tables import texts
from operators.tables.texts import TextPool


class Column:
    """A table with one column of codes."""

    def __init__(self, pool: TextPool) -> None:
        self.codes = np.zeros(0, np.int64)
        pool.add_holder(self)

    def used_codes(self) -> np.ndarray:
        return self.codes

    def recode(self, new_codes: np.ndarray) -> None:
        self.codes = new_codes[self.codes]


@given(st.lists(st.tuples(st.text(max_size=4), st.booleans()), max_size=60), st.integers(1, 9))
def test_texts_that_a_table_uses_are_kept_and_others_dropped(
    added: list[tuple[str, bool]], swept_above: int
) -> None:
    with mock.patch.object(texts, "SWEPT_ABOVE", swept_above):
        pool = TextPool()
        columns = Column(pool), Column(pool)
        expected: tuple[list[str], list[str]] = [], []
        for number, (text, is_kept) in enumerate(added):
            code = pool.code_of_path((text, "x")) if number % 2 else pool.code_of(text)
            if is_kept:
                column = columns[number % 2]
                column.codes = np.append(column.codes, code)
                expected[number % 2].append(f"{text}/x" if number % 2 else text)
            pool.sweep_if_due()
            for column, kept in zip(columns, expected, strict=True):
                assert [pool.text_of[one] for one in column.codes.tolist()] == kept
            used = len({text for kept in expected for text in kept} | {""})
            assert len(pool.text_of) <= max(swept_above, 2 * used)
            packed = [
                bytes(pool.content[begin:end]).decode("utf-8", "surrogatepass")
                for begin, end in zip(
                    pool.begin, pool.begin[1 : len(pool.text_of) + 1], strict=False
                )
            ]
            assert packed == pool.text_of


def test_a_table_that_is_gone_keeps_no_text() -> None:
    with mock.patch.object(texts, "SWEPT_ABOVE", 1):
        pool = TextPool()
        column = Column(pool)
        column.codes = np.array([pool.code_of("shoes"), pool.code_of("hats")])
        del column
        pool.sweep_if_due()
        assert pool.text_of == [""]
