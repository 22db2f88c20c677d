"""Benchmarks: the gateway and its peers, measured in the same run, as ratios. See README.md."""
