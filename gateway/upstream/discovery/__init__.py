"""Endpoints that are found while the gateway runs: by DNS, or in a file."""
