"""The dataflow, its sources and sinks, the processes that run it, and the command line.

`dataflow.py` is the flow from source to sink, `steps.py` the stored names of its steps. The
folders, lowest first: `process`, `sources`, `observability`, `recovery`, `sinks`, `kafka`,
`cluster`, `runtime`, `webhooks`, `commands`. import-linter checks that no import goes upwards.
"""
