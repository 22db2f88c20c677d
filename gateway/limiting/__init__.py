"""Rate limits, concurrency limits and budgets of callers."""
