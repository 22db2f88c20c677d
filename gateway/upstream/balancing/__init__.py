"""Load-balancing policies, one a file. Each implements `Balancer.pick`.

Policies use no socket, clock or event loop. `Candidate` is all that a policy knows about an
endpoint, and `Hint` all that it knows about a request.
"""
