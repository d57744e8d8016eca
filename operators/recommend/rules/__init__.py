"""What is done to a blended list before it is shown, one rule a file; `rules.py` has their order.

To add a rule: a file here, a section in `state.config.ListRules`, a line in `rules.py`.
"""
