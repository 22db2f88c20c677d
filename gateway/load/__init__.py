"""Bounds on the work of a worker: requests at once, work in a turn of the loop, bytes that wait."""
