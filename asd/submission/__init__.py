"""Submissions to the challenge: checks, packages, and the organisers' evaluation of them."""
