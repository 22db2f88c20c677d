"""The operator's side: what a worker tells of itself, and the listener that tells it of all."""
