"""Streams in Redis: any replica serves streams that another has begun."""
