"""Reads what the flow wrote to Redis: for a storefront, the command line and the dashboard.

Never writes.
"""
