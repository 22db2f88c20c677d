"""The upstream side: HTTP/1.1 connections, connection pools, endpoint health and load balancing."""
