"""Detectors, a folder for each family, behind the interface in base.py."""
