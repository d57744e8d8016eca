"""Candidate generators, one a file: the contract is in `base`, the list of them in `registry`.

A new generator is a file here and a line in `registry`.
"""
