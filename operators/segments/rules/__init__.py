"""Segments by rule: parsed from `segments.yaml`, compiled, and kept exact by timers in event time.

`parser` makes a `rule` of each segment, its condition made of the kinds in `conditions`. `compiler`
makes functions of all rules and says which of them an event may change. `engine` keeps the
memberships of one shard: it asks rules with each event, and when the clock reaches the edge of a
window. What a shopper carries is in `state.shopper.RuleState`; `windows` packs its windows.

To add a kind of condition: see `conditions`. To add a feature (`purchases >= 3`): see `features`.
To add a filter of events: see `filters`.
"""
