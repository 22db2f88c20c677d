"""Policies of a route's pipeline, one in each file: see `gateway/pipeline.py`."""
