"""Synthetic machine sounds, normal and faulty, in the form of a challenge data set."""
