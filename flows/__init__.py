"""Sentences: the wiring of verbs into a dataflow, its sources and its sinks, and the command line."""
