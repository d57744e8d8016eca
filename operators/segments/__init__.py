"""Which shopper is in which segment, and what happens in segments.

- memberships: `membership_index` (changes), `membership_store` (columns, what is stored), the pools
- decisions: `assignment`, `stage_assignment`, `lifecycle`, `rfm`, and the folders `rules`, `clusters`,
  `propensity`; `kinds` is the table of kinds
- what follows: `changes` (streams), `stats`, `counts`, `lifts`, `segment_scan`, `activity`, `retirement`

Segment ids, kinds and the names of stored columns never change.
"""
