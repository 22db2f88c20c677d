"""OpenID Connect for a client that signs people in: authorization code flow with PKCE."""
