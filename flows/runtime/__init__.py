"""A live run and a replay, from settings to Bytewax and back.

Change freely, except the fields of the report, which are public.
"""
