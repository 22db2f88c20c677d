"""Resumable streams: generations whose events are kept, so that readers may come back to them."""
