"""Pages to look at and listen to: from detectors and recordings to what asd.report writes."""
