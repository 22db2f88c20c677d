"""Waiting for a busy backend: who is next, for how long, and when it is no use to wait."""
