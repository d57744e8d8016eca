"""The dashboard for marketers: a server that reads Redis once for all open tabs. Never writes.

- `server` listens, `routes` maps paths to the handlers in `app`.
- `access` decides who may see the page, `guard` enforces it; `connections`, `attempts` limit clients.
- `hub` reads each view four times a second for all tabs; `document` computes what changed.
- `shop`, `segment` and `shopper` are the views; `streams`, `history` and `redis_values` parse replies.
- `export` writes members as CSV.

The files for the browser are in `serving/static`.
"""
