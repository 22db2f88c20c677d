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


class Calendar:
    """The current periods. Each is worked out once, and then cached until it ends."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, float, str]] = {}
        """Start, end and name of the current period of each kind."""

    def current(self, period: str, now_s: float) -> tuple[str, float]:
        """Return the name of the period that contains `now_s`, in seconds since the epoch, and the
        seconds to its end.
        """
        since, until, name = self._known.get(period, (0.0, 0.0, ""))
        if not since <= now_s < until:
            name, left_s = current(period, datetime.fromtimestamp(now_s, UTC))
            until = now_s + left_s
            self._known[period] = now_s, until, name
        return name, until - now_s
