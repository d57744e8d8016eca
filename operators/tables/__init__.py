"""Arrays that grow, decay, expire and are stored by dirty rows: the storage under everything learned.

Change with the golden files: the names and types of stored columns.
"""
