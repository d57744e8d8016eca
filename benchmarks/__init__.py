"""Benchmarks: each answers one question and prints its figure beside the floor or the peer."""
