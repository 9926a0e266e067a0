"""What the command does to edges directly: rotation and signals."""
