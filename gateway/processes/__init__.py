"""Processes of a gateway: the master, its workers, the admin process, and the demo backend."""
