"""What the organisers of the challenge define: years, clips, folders, labels, downloads."""
