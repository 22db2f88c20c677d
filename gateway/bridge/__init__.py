"""Many generations over one WebSocket: a small JSON protocol in front of a route."""
