"""How good the lists are: what `penstock evaluate` counts, on which cases, and beside whom.

Change freely: add a reference learner, a metric, a format. A change of what counts as a case, of a
metric's definition or of a reference learner changes every figure ever published: hold it against
the calibration in `tests/operators/evaluation/test_calibration.py` first.
"""
