"""Rate limits, concurrency limits and budgets of callers.

The buckets are the gateway's own; docs/decisions/0011 says why the package `limits` only parses
rates.
"""
