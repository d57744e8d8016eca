"""Business rules of a list, one a file. `base.py` has their contract, `rules.py` their order.

To add a rule, see `base.py`.
"""
