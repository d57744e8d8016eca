"""What is known of items: cards, features, who viewed them, alerts.

Change freely; names of stored tables stay.
"""
