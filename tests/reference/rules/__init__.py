"""Segments by rule in plain Python: every rule is asked by a function, with each event.

It is the reference of `operators.kernels.rule_log`, and was the product until the kernels were there.
"""
