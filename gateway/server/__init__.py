"""Listener for client connections, and the server of one process around it."""
