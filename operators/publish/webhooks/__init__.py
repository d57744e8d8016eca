"""Changes on their way to webhooks: the messages, their signatures, the order of delivery.

Pure: HTTP and Redis are in `flows/webhooks`. The form of a message is public (docs/changes.md): add
optional fields only.
"""
