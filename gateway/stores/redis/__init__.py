"""Store in Redis, shared by replicas."""
