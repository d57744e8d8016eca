"""Segments by rule: read from `segments.yaml`, compiled, and kept exact by timers in event time.

`reading` makes `language` of the file, `compiling` makes functions of that, and `engine` keeps one
shard's memberships right: with each event, and with each edge of a window when the clock reaches it.
What a shopper carries is in `state.shopper.RuleState`; its windows are packed by `windows`.
"""
