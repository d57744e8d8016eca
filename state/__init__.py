"""Nouns: every shape on the wire or at rest. Safe to read from anywhere.

Change freely: docstrings, new types, new optional fields with a default.
Change with a new version, an upgrade and a golden file: any other stored field.
Change on a date agreed by writer and reader: `keys.py`, the Redis key contract.
"""
