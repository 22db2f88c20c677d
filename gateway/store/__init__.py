"""What the processes and replicas of a gateway know together, beside their limits."""
