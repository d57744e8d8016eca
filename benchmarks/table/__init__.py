"""The figures that the product is held against, in one table: `python -m benchmarks.table`.

A part measures one or several rows; each can be run alone (`--rows cpu,floor`). Values are ratios, or
absolute where a person waits for them. Add a row in the file of its part, with both bounds.
"""
