"""Pretrained encoders, and how their tokens are pooled."""
