"""Fast twins of the adapters: records of the usual shape, decoded into types in one call. Hot.

A twin gives the events that its adapter would give, or `UnusualRecordError`: then the adapter reads the
record. So it knows only what every sender sends, a text where a text is expected and a number where a
number is; whatever an adapter corrects, notes as unreadable or refuses is unusual here. Every field that
the adapter looks at has a type here, even where nothing is done with it. A property test holds the
two equal.

Change with the adapter.
"""
