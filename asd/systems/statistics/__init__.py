"""A detector by the mean and the spread of each mel band, which trains in seconds."""
