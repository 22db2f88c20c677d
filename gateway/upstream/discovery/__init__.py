"""Service discovery: endpoints found at run time by DNS or in a file."""
