"""The same models with River's interface, for use outside the flow.

Change freely as long as River's checks pass: nothing here is stored.
"""
