"""The process of `penstock hooks`: it sends changes from Redis to webhook endpoints.

A slow endpoint slows neither the flow nor another endpoint: each has its own consumer group, and
changes that it has not accepted stay in the streams. `http_client` sends requests, `delivery`
serves one endpoint with its threads, `sources` reads messages from Redis and acknowledges them,
`process` runs all endpoints.
"""
