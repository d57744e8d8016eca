"""The HTTP server of a storefront: lists that can be drawn, what a page may know, content by segment.

- `requests` and `answers` are what is asked and answered; `openapi` describes both.
- `access` says who may ask, `limits` how often; `app` has the routes, `server` listens.
- `finder` reads from Redis (`reads`) and from the process (`shared`), and `assembly` makes lists of it.
- `content` chooses banners by segment.

It never writes to Redis, and keeps nothing that another replica would need.
"""
