"""Anomaly scores and the decisions that are made by them."""
