"""The log: lines made and written off the event loop, what of them is written, and the last few."""
