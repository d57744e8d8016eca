"""Offline evaluation of lists: what `penstock evaluate` and `penstock tune` count, and on which cases.

Change freely: add a baseline, a metric, a format. A change of what is a case, of a metric's definition
or of a baseline changes every published figure: compare it first with
`tests/operators/evaluation/test_calibration.py`.
"""
