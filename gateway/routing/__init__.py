"""Routing: the route of a request, the model that it is for, and so its target."""
