"""Pictures from arrays and result files alone: sized for a page, readable in grey."""
