"""Metrics, health, heartbeat and logs.

Names of metrics and fields of log lines are public: add, never rename.
"""
