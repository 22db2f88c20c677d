"""Calendar periods of budgets, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def current(period: str, now: datetime) -> tuple[str, float]:
    """Return the name of the day, week or month that contains `now`, and the seconds to its end."""
    now = now.astimezone(UTC)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        name, end = f"{start:%Y-%m-%d}", start + timedelta(days=1)
    elif period == "week":
        year, week, weekday = start.isocalendar()
        name, end = f"{year}-W{week:02}", start + timedelta(days=8 - weekday)
    elif period == "month":
        first = start.replace(day=1)
        name, end = f"{start:%Y-%m}", (first + timedelta(days=32)).replace(day=1)
    else:
        raise ValueError(f"not a period: {period}")
    return name, (end - now).total_seconds()
