"""Pure functions on one shopper: sessions, profile, affinities, orders, inactivity, feature row.

No messages and no Redis keys. Change freely what is computed; stored fields are in `state.shopper`.
"""
