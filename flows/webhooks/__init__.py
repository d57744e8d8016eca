"""Webhooks: changes out of Redis to whoever wants to be told, in a process of its own.

A slow endpoint never slows the flow, nor another endpoint: each has a consumer group of its own, and
what it has not taken stays in the streams. `posting` is HTTP, `delivery` one endpoint with its threads,
`sources` what is sent and how Redis hears of it, `running` the process.
"""
