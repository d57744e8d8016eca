"""The HTTP server of a storefront: lists that can be drawn, what a page may know, content by segment.

- `requests` and `answers` are what is asked and answered; `openapi` describes both.
- `app` has the routes, also those of the collector; `server` listens.
- `finder` reads from Redis (`reads`) and from the process (`shared`), and `assembly` makes lists of it.
- `content` chooses banners by segment.

Lists are read only; events go to `serving.collector`. Nothing is kept that another replica would need.
"""
