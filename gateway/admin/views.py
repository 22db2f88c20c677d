"""Paths of the dashboard's views."""

from __future__ import annotations

VIEWS = (
    "/",
    "/requests",
    "/requests/{id}",
    "/upstreams",
    "/limits",
    "/usage",
    "/keys",
    "/teams",
    "/config",
    "/audit",
    "/play",
)
"""Paths of the single document, which shows the view that its path names."""
