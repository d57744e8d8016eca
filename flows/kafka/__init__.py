"""Kafka: the source of events, sinks of dead letters and changes. Only this package imports kafka.

Change freely: how records are fetched, and how many at a time. Stored: the names of partitions
(`<partition>-<topic>`) and the meaning of a partition's snapshot (the offset of the next record to
read).
"""
