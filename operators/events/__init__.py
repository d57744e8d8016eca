"""One record becomes one event, or a dead letter with reasons.

Change with `docs/formats.md`: what is accepted. Reasons of dead letters are public.
"""
