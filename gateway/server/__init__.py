"""The listener and the process around it."""
