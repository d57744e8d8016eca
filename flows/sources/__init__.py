"""Recorded and paced sources, with the files and the sorting beneath them.

The names of partitions are stored in recovery folders: they never change.
"""
