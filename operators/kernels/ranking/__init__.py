"""Kernels that make lists: candidates, their blend, the list rules, the text of a list."""
