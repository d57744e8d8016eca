"""The one door to Redis: pipelined writes that wait out an outage, plain reads, and a lease.

`reads` is for a server that answers many at once; all else is for a flow.

Nothing else imports redis or hiredis. `addresses` says what a URL stands for, `links` holds the
connections for writing and knows which node a key is on, `courier` is the thread that sends, `streams`
knows what sending an entry again means, `groups` reads streams for one who acknowledges, `words` puts
errors into words, `lease` and `fence` keep a second writer out, `roster` says which processes of a run
are there, `marker` whether what was written is still there, `about` what Redis tells of itself; `scan`
reads all that is there, `digest` makes one number of it. Writes must be idempotent, with their key as
the first argument.
"""

from state.store.addresses import LOGIN_VARIABLE, USER_VARIABLE
from state.store.async_reader import AsyncReader, ReadCommand
from state.store.consumer_groups import ConsumerGroup, StreamEntry
from state.store.digest import Digest, sha256
from state.store.fence import Fence
from state.store.lease import Lease
from state.store.process_registry import ProcessEntry, ProcessRegistry
from state.store.store import Command, Store
from state.store.write_marker import WriteMarker

__all__ = [
    "LOGIN_VARIABLE",
    "USER_VARIABLE",
    "AsyncReader",
    "Command",
    "ConsumerGroup",
    "Digest",
    "Fence",
    "Lease",
    "ProcessEntry",
    "ProcessRegistry",
    "ReadCommand",
    "Store",
    "StreamEntry",
    "WriteMarker",
    "sha256",
]
