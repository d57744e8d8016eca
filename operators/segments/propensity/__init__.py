"""What shoppers will probably do next: online models whose labels arrive late.

A decision is a shopper's features at one time, with the predictions made then. It is pending until
its outcome is known. Only then is it evaluated and learned, so a model never learns from the
future.
"""
