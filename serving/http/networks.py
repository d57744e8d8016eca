"""Whose requests count together: the key of a client by its address."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

_IPV6_PREFIX = 64


@lru_cache(maxsize=10_000)
def network(address: str) -> str:
    """Return the key of one client: an IPv4 address, or the /64 network of an IPv6 customer.

    >>> network("192.0.2.7"), network("2001:db8::1:2:3"), network("unix")
    ('192.0.2.7', '2001:db8::/64', 'unix')
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, _IPV6_PREFIX), strict=False))
    return address
