"""Bodies of requests: read, decoded, and searched for the model that a form names."""
