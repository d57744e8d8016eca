"""All access to Redis: pipelined writes that survive an outage, plain reads, and the writer lease.

No other package imports redis or hiredis. The files, from the URL to the keys:

- `addresses` parses `redis.url`; `server_info` says whether a run can rely on that server.
- `connection` is one connection for writing, `connections` all of a writer with the routing of keys.
- `topology` finds the nodes of a cluster or of Sentinel; `client` is redis-py's client for reads.
- `pipelined_writer` is the thread that sends writes, `outage` its patience; `streams` repairs streams.
- `store` is what a flow uses; `async_reader`, `async_pipe` and `async_appender` are for a server that
  answers many requests at once.
- `consumer_groups` reads streams with acknowledgement.
- `lease` and `fence` keep a second writer out; `process_registry` lists the processes of a run.
- `write_marker` shows whether Redis still has everything that was written.
- `key_scan` reads all keys; `digest` computes one digest of them.
- `error_messages` turns errors into one line that says what to do.

Every write must be idempotent, with its key as the first argument: after an outage writes are sent
again.
"""

from state.store.addresses import LOGIN_VARIABLE, USER_VARIABLE
from state.store.async_appender import ENTRY_FIELD, AsyncAppender
from state.store.async_pipe import AsyncPipe
from state.store.async_reader import AsyncReader, ReadCommand
from state.store.consumer_groups import ConsumerGroup, StreamEntry
from state.store.digest import Digest, sha256
from state.store.fence import Fence
from state.store.lease import Lease
from state.store.process_registry import ProcessEntry, ProcessRegistry
from state.store.store import Command, Store
from state.store.write_marker import WriteMarker

__all__ = [
    "ENTRY_FIELD",
    "LOGIN_VARIABLE",
    "USER_VARIABLE",
    "AsyncAppender",
    "AsyncPipe",
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
