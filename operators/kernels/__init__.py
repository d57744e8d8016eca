"""Compiled inner loops over arrays, for what runs for every event. Only this folder knows Numba.

A kernel takes and gives arrays and numbers only, and holds no state of its own. Each has a plain
reference in `tests/reference/` and a property test that holds the two equal.
"""
