"""Detectors, a folder each, behind the interface in base.py."""
