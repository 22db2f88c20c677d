"""Resumable streams: the events of a generation are kept, so that a reader can reconnect."""
