"""From candidates to a list: context, blend, rules, exploration, feedback, rendering, evaluation.

Words of learners in lists are public; names of stored tables stay.
"""
