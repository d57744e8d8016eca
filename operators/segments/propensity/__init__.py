"""What shoppers are likely to do next: models that learn from outcomes that arrive late.

A decision is a shopper's features at one moment, and what the model said of it then. It waits until
its outcome is known; only then is it judged and learned, so nothing of the future can leak.
"""
