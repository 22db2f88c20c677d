"""The structured log: rendering, writing off the event loop, runtime control, recent lines."""
