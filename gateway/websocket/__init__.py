"""WebSockets (RFC 6455): the handshake, frames, and sessions between a client and an upstream."""
