"""Data shared by the processes and replicas of a gateway, except limits."""
