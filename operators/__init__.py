"""Verbs: pure, deterministic functions and the state they fold.

Time arrives as an argument; nothing here reads a clock, a file, the network or the configuration.
"""
