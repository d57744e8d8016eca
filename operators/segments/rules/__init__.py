"""Segments by rule: parsed from `segments.yaml`, compiled, and kept exact by timers in event time.

`parser` makes a `rule` of each segment, its condition made of the kinds in `conditions`. `compiler`
says which rules an event may change, and `program` makes one array of all. `engine` keeps the
memberships of one shard: it logs events (`event_log`, `dispatch`), and `operators.kernels.rule_log`
evaluates them on `rule_rows`, with each event and when the clock reaches the edge of a window. Stored is
`state.shopper.RuleState`, whose windows `windows` packs.

To add a kind of condition: see `conditions`. To add a feature (`purchases >= 3`): see `features`.
To add a filter of events: see `filters`.
"""
