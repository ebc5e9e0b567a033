"""Search for parameters: which values are tried, how they are judged, and what is told of it."""
