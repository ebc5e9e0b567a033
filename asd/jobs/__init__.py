"""The hallway: plans jobs, runs them, and owns the order train, score, decide, write."""
