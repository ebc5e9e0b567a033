"""Downloading data sets: transfers that go on where they stopped, archives, Zenodo's records."""
