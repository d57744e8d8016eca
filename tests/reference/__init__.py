"""Slow twins: plain recounts that the flow is held against. They know nothing of `operators`."""
