"""Online estimators on plain arrays: they know neither shoppers nor segments nor lists.

Change by measurement (`python -m benchmarks.clusters`, `benchmarks.factors`), and against the oracle
that a file names; the names of arrays are stored.
"""
