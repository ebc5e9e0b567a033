"""From scores to numbers: metrics, decision thresholds, result files, summary tables."""
