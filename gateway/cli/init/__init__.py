"""`gateway init`: write a configuration for backends, from what they report about themselves."""
