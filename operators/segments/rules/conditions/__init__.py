"""The kinds of conditions of a rule, one file each, and the list of them in `registry`.

A file has everything about its kind: the value, how it is written in `segments.yaml`, the function
that answers it for people, who ask why (`compile`), the instructions that answer it for the kernels
(`emit`), and how it reads. To add a kind: one file here, one line in `registry`, one in
docs/segments.md.
"""
