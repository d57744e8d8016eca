"""Blocks of cells in a pool: powers of two, free ones chained by size class.

A pool is an array whose cells belong to blocks; block 0 stands for none. The row of the pool in `heap`
has the first cell that was never used, then the first free block of each size class. A free block has
the next one in its first cell. Kernels never grow a pool: they ask for room first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare
from operators.kernels.shopper_columns import TOP

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells


@inlined_bare
def has_room(heap: Cells, pool: int, cells: Cells, size_class: int) -> bool:
    """Whether a block of this class can be allocated."""
    is_free = heap[pool, 1 + size_class] != 0
    return bool(is_free or heap[pool, TOP] + (1 << size_class) <= len(cells))


@inlined_bare
def allocate(heap: Cells, pool: int, cells: Cells, size_class: int) -> int:
    """A block of `1 << size_class` cells; the caller knows that there is room."""
    block = heap[pool, 1 + size_class]
    if block != 0:
        heap[pool, 1 + size_class] = cells[block, 0]
        return int(block)
    block = heap[pool, TOP]
    heap[pool, TOP] = block + (1 << size_class)
    return int(block)


@inlined_bare
def release(heap: Cells, pool: int, cells: Cells, block: int, size_class: int) -> None:
    """Give a block back."""
    cells[block, 0] = heap[pool, 1 + size_class]
    heap[pool, 1 + size_class] = block
