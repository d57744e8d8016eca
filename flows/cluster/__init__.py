"""The processes of one run: who starts, who leads, who follows, who writes, who restarts whom.

Change with the tests of crashes (`make chaos`): every wait here was found by one.
"""
