"""A synthetic shop: the same seed gives the same shoppers who do the same things.

For the demo and for tests that need shoppers with tastes: lists can be learned, clusters can be found,
and the next item is often related to the one before. Change freely: nothing is stored under these
names. The canonical workload of the benchmarks is `benchmarks/workload.py`.

`catalogue.py`: the items; `personas.py`: kinds of shoppers; `session.py`: one session as events;
`traffic.py`: all sessions as one stream of events.
"""
