"""Learners: one idea a file, all of them held to the promises in `base.py`."""
