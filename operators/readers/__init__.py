"""Readers of logs and records: each format becomes canonical events and dead letters.

`registry` lists the formats, `base` has what a reader promises. A format of JSON records is two
functions (`records.make_record_reader`), a format of tables is one (`table.read_table`). To add a
format: one file here and one line in `registry`; docs/adapters.md and docs/formats.md show an
example of each.
"""
