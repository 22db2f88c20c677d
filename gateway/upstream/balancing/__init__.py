"""Which endpoint of an upstream is next: one policy a file, each behind `Balancer.pick`.

No socket, no clock, no event loop: what a policy knows of an endpoint is in `Candidate`, and of a
request in `Hint`.
"""
