"""Kafka: events come from it, dead letters and changes go to it. The only room that imports kafka.

Change freely: how records are fetched and how much at a time. Stored: the names of partitions
(`<partition>-<topic>`) and what a snapshot of one means (the offset of the next record to read).
"""
