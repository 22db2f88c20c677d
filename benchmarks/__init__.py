"""Benchmarks: the gateway beside its peers, in one run, as ratios. See README.md."""
