"""The steps that train models: each takes whole batches and tells personalization what follows.

The names of the steps and of their journals are stored.
"""
