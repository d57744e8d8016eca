"""Who is in which segment: memberships, assignment, RFM, lifecycle, changes, statistics.

Segment ids and kinds are public; names of stored columns stay.
"""
