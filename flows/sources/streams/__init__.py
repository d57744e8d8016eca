"""Redis Streams as the log that a live run reads: what the collector writes, for shops without Kafka.

The streams `ps:1:events:{n}` are the partitions. An offset is the id of an entry as one number, so
snapshots, watermarks, dead letters and metrics are those of a run that reads Kafka.
"""
