"""The collector: events over HTTP into the log that the flow reads.

- `forms` reads a body in one of the forms that shops send, into events or errors.
- `intake` says what of it may be accepted, and fills in who and when.
- `event_log` is what a log must do; `spool` keeps on disk what the log does not take now.
- `routes` has the routes, which `penstock serve` adds to its own.

Accepted means: the log has acknowledged it, or it is on disk and will be sent. A repeat is harmless,
since the flow counts an event id once.
"""
