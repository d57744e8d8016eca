"""The keyed steps: shards of shoppers, identity, watermark, eviction, and what a snapshot holds.

Names of steps and journals are stored. Everything here runs once an event: measure a change.
"""
