"""The models as River estimators, for use outside the dataflow, which does not need them.

Change freely.
"""
