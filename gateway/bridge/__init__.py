"""Bridge: many generations over one WebSocket, by a small JSON protocol in front of a route."""
