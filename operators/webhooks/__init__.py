"""Changes on their way to webhooks: what is said, how it is signed, whose turn it is.

Pure: posting and Redis are in `flows/webhooks`. The form of a message is public (docs/changes.md): new
optional fields only.
"""
