"""Experiments: who gets which variant, and what each variant brought.

`definitions` and `parser` are the file, `assign` the hash, `unit_log` and `unit_metrics` the units
of a log, `statistics` the mathematics on sums, `verdict` and `planning` what follows for a person.
The hash and its seed must not change: they decide what a shopper sees.
"""
