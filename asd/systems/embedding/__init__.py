"""Embedding systems: a frontend turns a clip into a vector, a backend scores its distance."""
