"""The item side of recommendation: what is learned of items, once, for all who make lists.

`ItemTrainer` learns and says what changed; those who make lists read replicas. Names of stored tables
stay.
"""
