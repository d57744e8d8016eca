"""The demo's shop: pages of the synthetic catalogue, in which a person can click.

- `catalogue`: what the shop sells; `drawings`: a picture of each item; `cart`: the cart in its cookie.
- `pages`: the pages as HTML; `routes`: their addresses, beside those of the storefront's server.

The pages ask for lists and send events as any shop would: with the snippet. They read nothing from
Redis. Change freely.
"""
