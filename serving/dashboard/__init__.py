"""The page for marketers: a server that reads Redis once for all open tabs, and only reads.

`document` says what changed, `hub` tells it to every tab, `shop`, `segment` and `shopper` are what
is read, `requests` answers what is asked once (history, members, export), `access` says who may look,
`server` listens. What the browser gets stands in `serving/static`.
"""
