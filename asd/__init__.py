"""Anomalous sound detection: learn how a machine sounds when it is well, then score new clips."""

__version__ = "0.1.0"
