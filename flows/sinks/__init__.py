"""The sinks of the dataflow: Redis and the file of dead letters.

The names of partitions are stored in recovery folders: they never change.
"""
