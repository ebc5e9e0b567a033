"""From wav files to log-mel frames, and to windows over them."""
