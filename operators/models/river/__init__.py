"""River's own estimators in the flow, by an expression of the configuration, and our rankers.

What estimators are stored as is in `pickles.py` and `stored_estimator.py`.
"""
