"""Forwarding: the request to the upstream (`forward`), and its response back (`relay`)."""
