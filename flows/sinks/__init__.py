"""Where the dataflow ends: Redis and dead letters.

The names of partitions are stored in recovery folders: they never change.
"""
