"""What tests drive the gateway with: raw clients, scripted upstreams, running gateways."""
