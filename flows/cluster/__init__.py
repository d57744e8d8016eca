"""The processes of one run: how they start together, which one writes, and how all restart together.

Run the crash tests (`make chaos`) after each change: they found the reason for every wait here.
"""
