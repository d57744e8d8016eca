"""State to Redis commands: every key family of `state.keys` has one writer here.

Change on a date agreed with readers: what a key holds.
"""
