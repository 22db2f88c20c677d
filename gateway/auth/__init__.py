"""Authentication: principals, and the providers that verify credentials."""
