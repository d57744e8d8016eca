"""The Redis key contract, major 1: every key is built here and nowhere else.

key                                type    content                                   expires
ps:1:shopper:{id}:profile          HASH    counters and features, ints and decimals  90 d, 30 d anonymous
ps:1:shopper:{id}:segments         HASH    segment id -> entered ms                  90 d
ps:1:shopper:{id}:top:<slot>       STRING  list as JSON                              24 h
ps:1:shopper:{id}:session          HASH    the running session; exists while active  gap + 60 s
ps:1:alias:{anonymous_id}          STRING  shopper id                                180 d
ps:1:segment:{sid}:members         ZSET    shopper, score = entered ms               none
ps:1:segment:{sid}:definition      HASH    name description kind version status ...  none
ps:1:segment:{sid}:stats           HASH    size and value, now                       none
ps:1:segment:{sid}:history         STREAM  size and value, an entry a minute         8 d
ps:1:segment:{sid}:history:hours   STREAM  the same, an entry an hour                400 d
ps:1:segment:{sid}:lifts           STRING  what sets its members apart, as JSON      none
ps:1:segment:{sid}:overlap         HASH    other segment id -> shoppers in both      none
ps:1:segment:{sid}:versions        HASH    version -> rule, from when, size as JSON  none
ps:1:segments                      HASH    segment id -> summary as JSON             none
ps:1:clusters:map                  STRING  shoppers and centres in the plane, JSON   none
ps:1:shop:now                      HASH    figures over the whole shop, now          none
ps:1:shop:history                  STREAM  the same, an entry a minute               8 d
ps:1:shop:history:hours            STREAM  the same, an entry an hour                400 d
ps:1:kpi:{scope}:now               HASH    key figures of the last day               none
ps:1:kpi:{scope}:history:hours     HASH    the same by hour, each as JSON            400 d
ps:1:quality                       HASH    counts: read, rejected, late, duplicate   none
ps:1:recent                        STREAM  the newest events, an entry a batch       about 1 k entries
ps:1:item:{iid}:similar            STRING  list as JSON                              7 d
ps:1:item:{iid}:bought             STRING  list as JSON                              7 d
ps:1:item:{iid}:card               HASH    name category brand price currency ...    30 d
ps:1:popular:{scope}:24h           STRING  list as JSON                              48 h
ps:1:model:{name}                  HASH    version, algorithm, metrics               none
ps:1:changes:{p}                   STREAM  enter, leave, merge, erase                about 1 M entries
ps:1:events:{n}                    STREAM  events of the collector for the flow      once stored
ps:1:hooks:{name}:dead             STREAM  webhooks that an endpoint refused         about 100 k entries
ps:1:meta                          HASH    contract, writer version, watermark       none
ps:1:worker:{n}                    STRING  heartbeat                                 15 s
ps:1:shopper:{id}:row              STRING  the state of an evicted user              90 d
ps:1:device:{id}:row               STRING  the same of an anonymous one, or a link   30 d, 180 d
ps:1:shopper:{id}:devices          SET     a user's devices whose links are evicted  180 d
ps:1:erased:{hash}                 STRING  until when an id was erased (ms)        tombstone_days
ps:1:lease:{name}                  STRING  which run writes, as JSON                 its ttl
ps:1:lease:{name}:token            STRING  the newest run's token                    none
ps:1:lease:{name}:process:{n}      STRING  a process of a run across hosts, as JSON  its lease's ttl
ps:1:told                          STRING  the run whose state is complete here      none

Each key has one hash tag, so a Redis Cluster can hold them. A storefront may read every key except `row`
and `devices`: these belong to the dataflow and change without notice. Only flows write. A breaking
change writes `ps:2:` beside these keys.
"""

from __future__ import annotations

import re
import zlib
from urllib.parse import unquote

CONTRACT_VERSION = "1.0"
WRITER_VERSION = "0.1.0"
CHANGE_STREAMS = 8
WORKER_KEY_PREFIX = "ps:1:worker:"

_UNSAFE = re.compile(r"[{}:%\x00-\x1f\x7f]")


def encode_part(text: str) -> str:
    """Percent-encode what would break a hash tag or a key, so that every id is a legal part of a key.

    >>> encode_part("a:b{c}%")
    'a%3Ab%7Bc%7D%25'
    """
    if not text:
        raise ValueError("an empty id cannot be part of a key")
    if text.isalnum():
        return text
    return _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)


def decode_part(text: str) -> str:
    """The id that `encode_part` was made of.

    >>> decode_part(encode_part("a:b{c}%"))
    'a:b{c}%'
    """
    return unquote(text)


def alias_pattern() -> str:
    """The pattern of all aliases."""
    return "ps:1:alias:*"


def shopper_key(shopper: str) -> str:
    """What every key of a shopper begins with."""
    return f"ps:1:shopper:{{{encode_part(shopper)}}}:"


def profile_key(shopper: str) -> str:
    """The HASH of a shopper's counters and features."""
    return shopper_key(shopper) + "profile"


def segments_key(shopper: str) -> str:
    """The HASH of the segments a shopper is in, with the time of entering each (ms)."""
    return shopper_key(shopper) + "segments"


SLOT = "home"
"""The page slot that lists are written for."""


def top_key(shopper: str, slot: str) -> str:
    """The STRING with a shopper's list for one page slot."""
    return f"{shopper_key(shopper)}top:{encode_part(slot)}"


def session_key(shopper: str) -> str:
    """The HASH of a shopper's running session."""
    return shopper_key(shopper) + "session"


def row_key(shopper: str) -> str:
    """The STRING with the state of an evicted user; not for storefronts."""
    return shopper_key(shopper) + "row"


def device_row_key(anonymous_id: str) -> str:
    """The STRING with an evicted anonymous shopper, or an evicted link; not for storefronts."""
    return f"ps:1:device:{{{encode_part(anonymous_id)}}}:row"


def devices_key(shopper: str) -> str:
    """The SET of a user's devices whose links were evicted; not for storefronts."""
    return shopper_key(shopper) + "devices"


def erased_key(id_hash: str) -> str:
    """The STRING that says until when an id was erased (ms), by the hash of the id in hex."""
    return f"ps:1:erased:{{{encode_part(id_hash)}}}"


def alias_key(anonymous_id: str) -> str:
    """The STRING that names the shopper an anonymous id became."""
    return f"ps:1:alias:{{{encode_part(anonymous_id)}}}"


def members_key(segment: str) -> str:
    """The ZSET of a segment's shoppers, scored by when they entered (ms)."""
    return f"ps:1:segment:{{{encode_part(segment)}}}:members"


def definition_key(segment: str) -> str:
    """The HASH that says what a segment is."""
    return f"ps:1:segment:{{{encode_part(segment)}}}:definition"


def stats_key(segment: str) -> str:
    """The HASH of a segment's size and worth."""
    return f"ps:1:segment:{{{encode_part(segment)}}}:stats"


def history_key(segment: str) -> str:
    """The STREAM of a segment's size and worth, with an entry a minute."""
    return f"ps:1:segment:{{{encode_part(segment)}}}:history"


def history_hours_key(segment: str) -> str:
    """The same with an entry an hour."""
    return history_key(segment) + ":hours"


def lifts_key(segment: str) -> str:
    """The STRING that says which categories and items a segment's members prefer."""
    return f"ps:1:segment:{{{encode_part(segment)}}}:lifts"


def overlap_key(segment: str) -> str:
    """The HASH of how many of a segment's shoppers are in each other segment too."""
    return f"ps:1:segment:{{{encode_part(segment)}}}:overlap"


def versions_key(segment: str) -> str:
    """The HASH of all versions of a segment's rule."""
    return f"ps:1:segment:{{{encode_part(segment)}}}:versions"


def clusters_map_key() -> str:
    """The STRING with shoppers and cluster centres in the plane."""
    return "ps:1:clusters:map"


def shop_now_key() -> str:
    """The HASH of figures over the whole shop."""
    return "ps:1:shop:now"


def shop_history_key() -> str:
    """The STREAM of figures over the whole shop, with an entry a minute."""
    return "ps:1:shop:history"


def shop_history_hours_key() -> str:
    """The same with an entry an hour."""
    return shop_history_key() + ":hours"


def kpi_now_key(scope: str) -> str:
    """The HASH of the key figures of a scope, of the last day."""
    return f"ps:1:kpi:{{{encode_part(scope)}}}:now"


def kpi_history_hours_key(scope: str) -> str:
    """The HASH of the key figures of a scope by the start of the hour (ms)."""
    return f"ps:1:kpi:{{{encode_part(scope)}}}:history:hours"


def quality_key() -> str:
    """The HASH of counts of what was read since the first start, and of what was wrong with it."""
    return "ps:1:quality"


def recent_key() -> str:
    """The STREAM of the newest events, an entry a batch."""
    return "ps:1:recent"


def registry_key() -> str:
    """The HASH of all segments."""
    return "ps:1:segments"


def similar_key(item: str) -> str:
    """The STRING with the items looked at together with this one."""
    return f"ps:1:item:{{{encode_part(item)}}}:similar"


def bought_key(item: str) -> str:
    """The STRING with the items bought together with this one."""
    return f"ps:1:item:{{{encode_part(item)}}}:bought"


def card_key(item: str) -> str:
    """The HASH with what a page shows of an item."""
    return f"ps:1:item:{{{encode_part(item)}}}:card"


def popular_key(kind: str = "all", value: str = "") -> str:
    """The STRING with the list of a scope: all, trending, a category, segment, country, price level.

    >>> popular_key(), popular_key("category", "shoes")
    ('ps:1:popular:{all}:24h', 'ps:1:popular:{category.shoes}:24h')
    """
    scope = f"{kind}.{encode_part(value)}" if value else kind
    return f"ps:1:popular:{{{scope}}}:24h"


def model_key(name: str) -> str:
    """The HASH of a model's version and metrics."""
    return f"ps:1:model:{{{encode_part(name)}}}"


def changes_key(shopper: str) -> str:
    """The STREAM with the changes of a shopper."""
    return change_stream_key(change_stream(shopper))


def change_stream_key(stream: int) -> str:
    """The STREAM of this number."""
    return f"ps:1:changes:{{{stream}}}"


def change_stream(shopper: str) -> int:
    """The number of the change stream of a shopper."""
    return zlib.crc32(shopper.encode()) % CHANGE_STREAMS


def events_key(partition: int) -> str:
    """The STREAM of events of this number, which the collector writes and the flow reads.

    >>> events_key(0)
    'ps:1:events:{0}'
    """
    return f"ps:1:events:{{{partition}}}"


def dead_hooks_key(endpoint: str) -> str:
    """The STREAM of webhooks that an endpoint did not accept."""
    return f"ps:1:hooks:{{{encode_part(endpoint)}}}:dead"


def meta_key() -> str:
    """The HASH with the contract's version, the writer's and its watermark."""
    return "ps:1:meta"


def worker_key(worker: int) -> str:
    """The STRING that a live worker refreshes."""
    return f"{WORKER_KEY_PREFIX}{{{worker}}}"


def lease_key(name: str) -> str:
    """The STRING that says which run writes."""
    return f"ps:1:lease:{{{encode_part(name)}}}"


def lease_token_key(name: str) -> str:
    """The STRING with the newest token that a run was given."""
    return lease_key(name) + ":token"


def process_key(name: str, process: int) -> str:
    """The STRING with which a process of a run across hosts registers."""
    return f"{lease_key(name)}:process:{process}"


def write_marker_key() -> str:
    """The STRING that names the run whose state is complete here (`state.store.write_marker`)."""
    return "ps:1:told"
