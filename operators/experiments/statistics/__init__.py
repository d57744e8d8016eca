"""Tests and intervals of experiments, on sums only: nothing here knows a shopper or an event.

What may be changed: more tests. Each has an independent reference in
`tests/operators/experiments/statistics`.
"""
