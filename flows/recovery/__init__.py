"""The recovery folder: open, verify, back up, restore, and rebuild Redis from it.

File names in the folder are stored: they never change without a migration.
"""
