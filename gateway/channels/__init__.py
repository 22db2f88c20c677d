"""Channels: authorised callers publish events, and any number of clients follow them."""
