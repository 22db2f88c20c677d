"""Alerts to operators: which conditions hold, how a message reads, and its delivery."""
