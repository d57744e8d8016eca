"""The sources of recorded and live events, and the reading and sorting of files.

The names of partitions are stored in recovery folders: they never change.
"""
