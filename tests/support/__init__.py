"""Tools for tests: raw clients, scripted upstreams, and running gateways."""
