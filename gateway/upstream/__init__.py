"""The upstream side: our own HTTP/1.1 connections, their pools, and how an endpoint is picked."""
