"""What the lists and the collector share: who may ask, how often, and how a request is refused."""
