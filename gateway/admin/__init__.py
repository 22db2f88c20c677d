"""Admin API for operators: the internal API of each worker, and the listener that combines them."""
