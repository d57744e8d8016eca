"""Readers of what the flow wrote: what a storefront sees. Nothing here writes a profile."""
