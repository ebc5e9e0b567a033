"""One's own recordings: learn a machine's normal sound, score recordings, watch a stream."""
