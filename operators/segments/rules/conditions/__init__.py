"""The kinds of conditions of a rule, one file each, and the list of them in `registry`.

A file has everything about its kind: the value, how it is written in `segments.yaml`, the function
that answers it, and how it reads. To add a kind: one file here, one line in `registry`, one in
docs/segments.md.
"""
