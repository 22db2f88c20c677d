"""Exact response cache: keys, directives, stored answers, and the interface of their stores."""
