"""Construction of the runtime's parts from the configuration models; `app` combines the parts."""
