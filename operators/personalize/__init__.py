"""The step that sees all shoppers: segments, models, lists, and what is written of them.

The name of the step and of its journal are stored.
"""
